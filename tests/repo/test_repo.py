"""Rules of this repository that a machine can hold."""

import ast
import os
import re
import subprocess
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import plugway
import plugway.testing
from plugway.plugins.hookspecs import hook_infos

ROOT = Path(__file__).resolve().parents[2]
KERNEL = ROOT / "kernel/src/plugway"
PLUGINS = sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))
KIT = ROOT / "plugins/testing"
"""Starts what plugins are tested in, so it alone knows the inside of the kernel."""
LIBRARIES = ("log", "http", "wire", "grants", "packages")
"""Packages that the kernel itself is built from: they import nothing of it, and no plugin."""
SOURCES = sorted([*KERNEL.rglob("*.py"), *ROOT.glob("plugins/*/src/**/*.py")])


def relative(path):
    return str(path.relative_to(ROOT))


def tracked():
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_and_functions_stay_readable(path):
    text = path.read_text()
    limit = 380 if KERNEL in path.parents else 400
    assert text.count("\n") <= limit
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_is_left_for_later(path):
    assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError", path.read_text())


def test_nothing_sends_pip_to_a_name_that_is_not_ours():
    found = [
        f"{relative(path)}: {line.strip()}"
        for path in tracked()
        if path.suffix in {".py", ".md", ".yaml"} and path.name != "test_repo.py"
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"pip install (-\S+ )*['\"]?plugway", line) and "Once released" not in line
    ]
    assert found == []


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("folder", [p for p in PLUGINS if p != KIT], ids=relative)
def test_a_plugin_imports_the_public_kernel_only(folder):
    for path in folder.glob("src/**/*.py"):
        for module in imported(path):
            top = module.partition(".")[0]
            assert top != "plugway" or module in ("plugway", "plugway.testing"), (
                f"{path.name}: {module}"
            )
            assert top != "plugway_testing", f"{path.name}: tests import `plugway.testing`"


@pytest.mark.parametrize("folder", PLUGINS, ids=relative)
def test_a_plugin_has_one_name_in_four_spellings_and_a_page(folder):
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    name, module = folder.name, f"plugway_{folder.name.replace('-', '_')}"
    assert project["name"] == f"plugway-{name}"
    assert (folder / "src" / module / "__init__.py").is_file()
    assert (folder / "src" / module / "py.typed").is_file()
    assert (folder / "README.md").read_text().startswith(f"# plugway-{name}")
    points = project.get("entry-points", {}).get("plugway", {})
    assert list(points) in ([], [name])
    assert list(folder.glob("tests/test_*.py")), "a plugin has tests"


def test_the_kernel_imports_no_plugin_and_names_no_provider():
    providers = re.compile(
        r"\b(ollama|lmstudio|lm studio|vllm|llama-server|openai|gemini|openrouter|deepseek)\b", re.I
    )
    for path in KERNEL.rglob("*.py"):
        tops = {module.partition(".")[0] for module in imported(path)}
        plugins = {module for module in tops if module.startswith("plugway_")}
        allowed = {f"plugway_{name}" for name in LIBRARIES}
        assert plugins <= allowed | ({"plugway_testing"} if path.name == "testing.py" else set())
        code = "\n".join(line.partition("#")[0] for line in path.read_text().splitlines())
        assert not providers.search(code), f"{path.name} names {providers.search(code)}"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_of_the_kernel_stands_below_it(name):
    project = tomllib.loads((ROOT / f"plugins/{name}/pyproject.toml").read_text())["project"]
    assert "entry-points" not in project
    for path in ROOT.glob(f"plugins/{name}/src/**/*.py"):
        used = {module.partition(".")[0] for module in imported(path)}
        below = {f"plugway_{other}" for other in LIBRARIES[: LIBRARIES.index(name) + 1]}
        assert {one for one in used if one.startswith("plugway")} <= below, path.name


@pytest.mark.parametrize("module", [plugway, plugway.testing])
def test_everything_public_is_there_and_sorted(module):
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        found = getattr(module, name)
        assert found.__doc__ or not callable(found) or name == "StopReason"


def test_every_hook_has_a_user_in_this_repository():
    used = set()
    for point in entry_points(group="plugway"):
        plugin = point.load()
        used |= {
            name for name in hook_infos() if hasattr(getattr(plugin, name, None), "plugway_impl")
        }
    source = "".join(p.read_text() for p in ROOT.glob("plugin*/**/src/**/*.py"))
    missing = {n for n in hook_infos() if n not in used and f"def {n}(" not in source}
    assert not missing


def test_every_hook_stands_in_the_docs():
    page = (ROOT / "docs/hooks.md").read_text()
    for name in hook_infos():
        assert f"### {name}\n" in page


def test_every_public_name_of_the_test_kit_stands_in_the_docs():
    page = (ROOT / "docs/testing-a-plugin.md").read_text()
    for name in (
        "gateway",
        "PlainBackend",
        "ScriptedUpstream",
        "PluginContract",
        "BackendContract",
    ):
        assert name in page


def test_links_between_pages_lead_somewhere():
    for page in [ROOT / "README.md", ROOT / "AGENTS.md", *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
        for target in re.findall(r"`(docs/[\w-]+\.md)`", page.read_text()):
            assert (ROOT / target).exists(), f"{page.name} names {target}"


def test_no_path_of_a_machine_and_no_lock_file_is_committed():
    for path in tracked():
        assert path.name not in {"uv.lock", "package-lock.json"}
        if (
            path.suffix in {".md", ".py", ".toml", ".yaml", ".txt", ".sh", ""}
            and path.stat().st_size < 10**6
        ):
            text = path.read_text(errors="ignore")
            assert not re.search(r"/(work|farm)/|/root/\.", text.replace("\\", "")) or path == Path(
                __file__
            )


def test_the_versions_move_in_step():
    versions = {
        tomllib.loads(p.read_text())["project"]["version"]
        for p in [ROOT / "kernel/pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    }
    assert len(versions) == 1


def test_make_run_takes_a_port_and_a_host_from_its_own_words_only():
    def served(*words):
        env = {"PATH": os.environ["PATH"], "HOST": "a-shell-sets-it", "PORT": "1"}
        done = subprocess.run(
            ["make", "-n", "run", *words], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )  # fmt: skip
        return done.stdout.splitlines()[-1].partition("config.example.yaml")[2].split()

    assert served() == []
    assert served("PORT=9000") == ["--port", "9000"]
    assert served("PORT=9000", "HOST=::1") == ["--port", "9000", "--host", "::1"]
