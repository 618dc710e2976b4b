"""In signed mode, a package that was not approved never runs a line, whatever entry points it has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import httpx2
import pytest

from plugway.config.approval import approve
from plugway_packages import packages_of_plugins

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
PLUGWAY = str(Path(sys.executable).with_name("plugway"))
SOURCES = [*ROOT.glob("kernel/src/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
LIBRARIES = ("pydantic", "keyring.backends", "opentelemetry_context", "pytest11")
"""Groups of libraries, which some of them import as soon as they are used."""
MARKED = """
import os, sys
with open(os.environ["MARK"], "a") as file:
    file.write(" ".join(sys.argv) + "\\n")
class Thing:
    pass
"""
PLUGINS = ("dashboard", "mcp", "local-answers", "router", "llama-cpp", "mlx", "speech-to-text",
           "text-to-speech", "echo")  # fmt: skip
QUICK = (
    ("--help",),
    ("check",),
    ("models", "list"),
    ("mcp", "list"),
)
MORE = (
    ("--version",),
    ("config", "schema"),
    ("config", "example"),
    ("config", "path"),
    ("plugins", "--json"),
    ("permissions",),
    ("install", "--outdated"),
    ("doctor", "--offline"),
    ("claude", "--help"),
    ("logs",),
    ("status",),
    ("keys", "list"),
    ("models", "show", "demo"),
    ("mcp", "test", "hostile"),
    ("recommend",),
    ("bench", "--help"),
    ("new", "hostile-two"),
    ("hostile",),
    ("hostile", "--help"),
    *(
        (name, "--help")
        for name in sorted({p.name for p in entry_points(group="plugway.commands")})
    ),
)


def groups():
    """Every group of Plugway, in the code and in the packages."""
    found = set()
    for path in SOURCES:
        found |= set(re.findall(r'"(plugway\.[a-z_]+)"', path.read_text()))
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        found |= set(re.findall(r'entry-points\."?(plugway[a-z_.]*)"?\]', path.read_text()))
    return found


def installed(site, names):
    """A package with an entry point in every group, under each of `names(group)`."""
    info = site / "hostile-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "hostile_one.py").write_text(MARKED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1.0\n")
    (info / "RECORD").write_text("hostile_one.py,,\n")
    text = "".join(
        f"[{group}]\n" + "".join(f"{name} = hostile_one:Thing\n" for name in names(group))
        for group in sorted({*groups(), *LIBRARIES})
    )
    (info / "entry_points.txt").write_text(
        text.replace(
            "[plugway.stack]\nhostile = hostile_one:Thing", "[plugway.stack]\nhostile = hostile_one"
        )
    )


@pytest.fixture(scope="module")
def approvals(tmp_path_factory):
    """All packages of this environment, approved; the hostile one is not among them."""
    path = tmp_path_factory.mktemp("approved") / "approved-plugins.json"
    approve(packages_of_plugins(), path)
    return path.read_text()


class Signed:
    """A user in signed mode, in whose environment the package is."""

    def __init__(self, folder, approvals, names):
        self.mark = folder / "mark"
        self.signed = True
        installed(folder / "site", names)
        settings = folder / "config" / "plugway"
        settings.mkdir(parents=True)
        (settings / "approved-plugins.json").write_text(approvals)
        self.config = settings / "config.yaml"
        self.config.touch(0o600)
        self.environ = {
            **os.environ,
            "HOME": str(folder / "home"),
            "MARK": str(self.mark),
            "PYTHONPATH": str(folder / "site"),
            "PIP_INDEX_URL": "http://127.0.0.1:9/",
            "PIP_RETRIES": "0",
            "NO_COLOR": "1",
            **{
                f"XDG_{name}_HOME": str(folder / name.lower())
                for name in ("CONFIG", "DATA", "STATE")
            },
        }
        (folder / "home").mkdir()
        self.configure(PLUGINS)

    def configure(self, plugins):
        server = {"port": 0, "plugins": "signed" if self.signed else "listed", "token": "t" * 40}
        document = {"server": server, "plugins": [{"use": name} for name in plugins]}
        self.config.write_text(json.dumps(document))

    def run(self, *words):
        done = subprocess.run(
            [PLUGWAY, *words],
            env=self.environ,
            cwd=self.config.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Traceback" not in done.stderr or not self.signed, done.stderr
        return done.stdout + done.stderr

    @property
    def ran(self):
        return self.mark.read_text() if self.mark.exists() else ""


@pytest.fixture(scope="module")
def signed(tmp_path_factory, approvals):
    return Signed(tmp_path_factory.mktemp("hostile"), approvals, lambda group: ["hostile"])


def test_the_package_runs_where_nothing_was_approved(tmp_path):
    """So the mark would be seen."""
    user = Signed(tmp_path, "{}", lambda group: ["hostile"])
    (user.config.parent / "approved-plugins.json").unlink()
    user.signed = False
    user.configure(PLUGINS)
    user.run("models", "list")
    assert user.ran


@pytest.mark.parametrize(
    "words",
    [*QUICK, *(pytest.param(words, marks=pytest.mark.slow) for words in MORE)],
    ids=" ".join,
)
def test_no_command_runs_a_line_of_it(signed, words):
    said = signed.run(*words)
    assert signed.ran == "", said


def test_a_gateway_that_lists_it_names_it_and_one_that_does_not_serves(signed):
    signed.configure([*PLUGINS, "hostile"])
    assert "`hostile_one:Thing` is not approved" in signed.run("serve")
    signed.configure(PLUGINS)
    assert signed.ran == ""
    process = subprocess.Popen(
        [PLUGWAY, "serve", "--log-json"],
        env=signed.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = next(line for line in process.stderr if '"listening"' in line)
        url = re.search(r"http://[\d.:]+", line).group()
        headers = {"x-api-key": "t" * 40}
        with httpx2.Client(base_url=url, headers=headers, timeout=60) as client:
            for path in ("/", "/status", "/v1/models", "/dashboard", "/mcp", "/health"):
                client.get(path)
            body = {
                "model": "echo/echo",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "a"}],
            }
            assert client.post("/v1/messages", json=body).status_code == 200
    finally:
        process.terminate()
        process.stderr.read()
        process.wait(30)
        process.stderr.close()
    assert signed.ran == ""


@pytest.mark.slow
def test_a_package_that_takes_the_names_of_others_does_not_run_either(tmp_path, approvals):
    def names(group):
        return sorted({point.name for point in entry_points(group=group)} or {"hostile"})

    user = Signed(tmp_path, approvals, names)
    for words in (("--help",), ("check",), ("models", "list"), ("config", "example")):
        said = user.run(*words)
        assert user.ran == "", said
