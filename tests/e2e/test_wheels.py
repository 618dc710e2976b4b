"""`plugway[starter]` from the wheels that `make dist` builds, in its own environment.

Dependencies come from the index that pip is configured with. Our own names are never looked up
there: the constraints name the file of each.
"""

import re
import subprocess
import sys
import venv
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from plugway.testing import request_body

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    here = [f"DIST={folder}", f"BIN={Path(sys.executable).parent}"]
    run("make", "--old-file", ".venv/.installed", "dist", *here, cwd=ROOT)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def plugway(wheels, tmp_path_factory):
    """Runs the command of an environment with the wheels, for a user without any files."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "venv")
    ours = folder / "ours.txt"
    names = {path.name.partition("-")[0].replace("_", "-"): path for path in wheels}
    ours.write_text("".join(f"{name} @ {path.as_uri()}\n" for name, path in names.items()))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "venv"), "install", "--quiet"]
    run(*pip, "-c", str(ours), "-c", str(ROOT / "constraints.txt"), "plugway[starter]")
    env = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return [str(folder / "venv/bin/plugway")], {"env": env, "cwd": folder}


@contextmanager
def serving(command, **options):
    """The address and the token of the gateway that the command starts."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            said = ""
            while " token " not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            url = re.search(r"http://\S+", said)[0]
            yield url, Path(re.search(r" token +(.+)", said)[1]).read_text().strip()
        finally:
            process.terminate()


def test_there_is_one_wheel_for_every_package(wheels):
    packages = [ROOT / "kernel", *(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]
    assert len(wheels) == len(packages)


@pytest.mark.parametrize("config", [[], ["--config", "config.yaml"]], ids=["none", "example"])
def test_a_first_user_checks_and_serves_what_the_starter_offers(plugway, config):
    command, here = plugway
    (here["cwd"] / "config.yaml").write_text(run(*command, "config", "example", **here))
    run(*command, "check", *config, **here)
    with serving([*command, "serve", *config, "--port", "0"], **here) as (url, token):
        answer = httpx2.post(
            f"{url}/v1/messages",
            json=request_body("what is plugway"),
            headers={"x-api-key": token},
            timeout=120,
            trust_env=False,
        )
    assert answer.status_code == 200, answer.text
    assert "Plugway is a local gateway" in answer.json()["content"][0]["text"]


def test_a_new_plugin_is_made_from_the_template_in_the_wheel(plugway):
    command, here = plugway
    run(*command, "new", "house-rules", **here)
    made = here["cwd"] / "plugway-house-rules"
    assert 'name = "plugway-house-rules"' in (made / "pyproject.toml").read_text()
    assert (made / "src/plugway_house_rules/py.typed").is_file()
    assert list(made.glob("tests/test_*.py"))
