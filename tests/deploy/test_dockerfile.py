"""What `deploy/Dockerfile` says; `test_image` builds it."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfile import Ignored, health_check, instructions, pairs, read, words_of

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BUILD, IMAGE = read(DEPLOY / "Dockerfile")
VERSION = tomllib.loads((ROOT / "kernel/pyproject.toml").read_text())["project"]["version"]


def arguments(stage):
    return {name: value for text in stage.all("ARG") for name, value in pairs(text).items()}


def plugins():
    """The plugins that are in the image by default, with what they install besides."""
    wanted, found = arguments(BUILD)["PLUGINS"].split(), set()
    while wanted:
        name = wanted.pop().partition("[")[0]
        if name not in found:
            found.add(name)
            project = tomllib.loads((ROOT / f"plugins/{name}/pyproject.toml").read_text())[
                "project"
            ]
            needed = [re.match(r"[\w-]+", one)[0] for one in project["dependencies"]]
            wanted += [one.removeprefix("plugway-") for one in needed if one.startswith("plugway-")]
    return found


def test_it_starts_as_an_ordinary_user_with_a_number_and_process_1_passes_signals_on():
    assert re.fullmatch(r"([1-9]\d{3,}):\1", IMAGE.one("USER"))
    assert words_of(IMAGE.one("ENTRYPOINT")) == ["tini", "--", "plugway"]
    assert words_of(IMAGE.one("CMD")) == ["serve"]
    assert IMAGE.one("STOPSIGNAL") == "SIGTERM"
    last_run = max(n for n, step in enumerate(IMAGE.steps) if step.name == "RUN")
    assert [step.name for step in IMAGE.steps].index("USER") > last_run


def test_the_health_check_asks_whether_the_gateway_is_ready():
    command, options = health_check(IMAGE)
    assert command[:2] == ["python", "-c"]
    compile(command[2], "HEALTHCHECK", "exec")
    assert "'/readyz'" in command[2]
    assert float(options["timeout"].removesuffix("s")) > 4  # more than the command's own


def test_the_image_has_no_package_that_compiles_and_no_secret():
    installed = " ".join(IMAGE.all("RUN"))
    assert not re.search(r"gcc|build-essential|make|python3-dev", installed)
    for stage in (BUILD, IMAGE):
        assert not re.search("(?i)token|password|secret|key", " ".join(stage.all("ARG")))
        assert not re.search("(?i)token|password|secret|key", " ".join(stage.all("ENV")))


def test_no_registry_and_no_package_index_is_named():
    for path in [*DEPLOY.rglob("*"), ROOT / "docs/recipes/containers.md"]:
        if path.is_file():
            text = path.read_text("utf-8")
            assert not re.search(r"pypi|index-url|docker\.io|ghcr|quay\.io|registry\.", text), path


def test_the_versions_are_those_of_the_kernel():
    assert arguments(IMAGE)["VERSION"] == VERSION
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["services"]["gateway"]["image"] == f"plugway:${{PLUGWAY_TAG:-{VERSION}}}"
    (image,) = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["images"]
    assert image["newTag"] == VERSION
    assert f"plugway:{VERSION}" in (ROOT / "docs/recipes/containers.md").read_text()


@pytest.mark.parametrize("name", ["config.yaml", "kubernetes/config.yaml"])
def test_the_plugins_of_a_configuration_are_in_the_image(name):
    used = {entry["use"] for entry in yaml.safe_load((DEPLOY / name).read_text())["plugins"]}
    assert used <= plugins()


@pytest.mark.skipif(os.name == "nt", reason="needs `sh`")
@pytest.mark.parametrize(
    ("plugins", "status", "said"),
    [
        ("store[postgresql,redis] budgets", 0, ""),
        ("store[redis] budgetz", 1, "PLUGINS: there is no folder plugins/budgetz\n"),
        ("", 0, ""),
    ],
)
def test_a_misspelt_plugin_stops_the_build_before_its_name_is_looked_up(plugins, status, said):
    (step,) = [text for text in BUILD.all("RUN") if text.startswith("for plugin in")]
    check, _, rest = step.partition(" && /build/bin/pip wheel")
    assert rest
    env = {"PLUGINS": plugins, "PATH": os.defpath}
    done = subprocess.run(["sh", "-c", check], cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (status, said)


def test_engines_of_this_machine_are_left_out_by_default():
    assert not plugins() & {"llama-cpp", "mlx", "local-engine", "media", "demo-model", "starter"}


def test_what_is_copied_is_not_ignored_and_nothing_else_is_sent():
    ignored = Ignored(ROOT / ".dockerignore")
    copied = [word for text in BUILD.all("COPY") for word in text.split()[:-1]]
    for name in copied:
        assert (ROOT / name).exists()
        assert not ignored(name)
    top = {path.name for path in ROOT.iterdir()}
    assert {name for name in top if not ignored(name)} == set(copied)
    for name in (".git/config", ".venv/bin/python", "deploy/secrets/gateway_token", "dist/x.whl"):
        assert ignored(name)
    for name in ("plugins/store/tests/test_store.py", "kernel/src/plugway/__pycache__/x.pyc"):
        assert ignored(name)
    for name in ("plugins/store/src/plugway_store/_store.py", "plugin-template/tests/test_x.py"):
        assert not ignored(name)


def test_an_instruction_that_the_reader_does_not_know_stops_it():
    with pytest.raises(AssertionError, match="ADD"):
        list(instructions("FROM x\nADD a b\n"))
