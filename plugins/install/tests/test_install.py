"""`plugway install` and `plugway remove` in an environment of their own, without network."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import zipfile
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from install_wheels import PERMISSIONS, PLUGIN, make_environment, make_wheel, sha256

from plugway import PlugwayError
from plugway_install import _change, _pip
from plugway_install._environment import Environment
from plugway_install._names import OWN, own_folder, resembles_own
from plugway_install._pip import Pin
from plugway_install._plan import Plan, requirements
from plugway_install._signatures import SignedList
from plugway_install._wheel import inspect

ROOT = Path(__file__).resolve().parents[3]
HERE = Environment()
"""The environment of the tests, read once."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the environments are POSIX ones")


@pytest.fixture
def gateway(tmp_path):
    return make_environment(tmp_path / "env")


@pytest.fixture
def wheels(tmp_path):
    return tmp_path / "wheels"


def refused(gateway, *words, **environ):
    """The message of a command that fails and changes nothing."""
    before = gateway.files()
    done = gateway.run(*words, **environ)
    assert done.returncode == 1, done.stderr
    assert gateway.files() == before
    return done.stderr


def test_a_plugin_is_installed_after_it_was_shown(gateway, wheels):
    path = make_wheel(wheels, requires=["probe-lib"])
    make_wheel(wheels, "probe-lib", points={})
    shown = refused(gateway, "install", "probe-one", "--from", wheels)
    assert f"new    probe-one 1.0  sha256:{sha256(path)}" in shown
    assert "new    probe-lib 1.0" in shown
    assert "- is notified of the end of each request (hook `finished`)" in shown
    assert "- connects to `api.example.com`" in shown
    assert "nothing was changed: confirm with `--yes`" in shown
    done = gateway.run("install", "probe-one", "--from", wheels, "--yes")
    assert done.returncode == 0, done.stderr
    assert "Add to `plugins:` of the configuration: - use: probe-one" in done.stderr
    assert gateway.has("probe-one")
    assert gateway.has("probe-lib")
    assert "probe-one" in gateway.run("plugins", "--json").stdout
    assert "- connects to `api.example.com`" in gateway.run("permissions", "probe-one").stdout
    assert not (gateway.folder / ".plugway-install").exists()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def index(wheels):
    """A simple index on loopback (packaging.python.org, "Simple repository API")."""
    wheels.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(wheels)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_plugin_comes_from_the_index_that_pip_is_configured_for(gateway, wheels, index):
    folder = wheels / "probe-one"
    path = make_wheel(folder)
    (folder / "index.html").write_text(f'<a href="{path.name}#sha256={sha256(path)}">x</a>')
    done = gateway.run("install", "probe-one", "--yes", PIP_INDEX_URL=index)
    assert done.returncode == 0, done.stderr
    assert gateway.has("probe-one")
    more = f"{PERMISSIONS}processes = ['git']\n"
    files = {"probe_one/__init__.py": PLUGIN, "probe_one/plugway-permissions.toml": more}
    newer = make_wheel(folder, version="1.1", files=files)
    with (folder / "index.html").open("a") as page:
        page.write(f'<a href="{newer.name}#sha256={sha256(newer)}">x</a>')
    assert gateway.run("install", "--outdated", PIP_INDEX_URL=index).stdout == (
        "probe-one 1.0 -> 1.1\n"
    )
    shown = refused(gateway, "install", newer)
    assert "- starts `git`, NEW in this version" in shown
    assert "- connects to `api.example.com`\n" in shown
    newer.write_bytes(newer.read_bytes()[:-1] + b"!")
    message = refused(gateway, "install", "probe-one", "--upgrade", "--yes", PIP_INDEX_URL=index)
    assert "hash" in message.lower()


def test_text_of_a_package_that_pip_quotes_moves_no_cursor(gateway, wheels):
    metadata = "Metadata-Version: 2.1\nName: probe-one\nVersion: 1.0\nRequires-Dist: a \x1b[2J\n"
    message = refused(gateway, "install", make_wheel(wheels, metadata=metadata), "--yes")
    assert "invalid metadata" in message
    assert "\x1b" not in message


def test_a_wheel_is_installed_by_its_file(gateway, wheels):
    done = gateway.run("install", make_wheel(wheels), "--yes")
    assert done.returncode == 0, done.stderr
    assert gateway.has("probe-one")
    again = gateway.run("install", "probe-one", "--from", wheels, "--yes")
    assert "already installed" in again.stderr
    done = gateway.run("remove", "Probe_One", "--yes")
    assert done.returncode == 0, done.stderr
    assert not gateway.has("probe-one")


@pytest.mark.slow
def test_a_source_folder_is_built_only_after_consent(gateway, tmp_path):
    new = gateway.run("new", "fresh", "--directory", tmp_path / "fresh")
    assert new.returncode == 0, new.stderr
    message = refused(gateway, "install", tmp_path / "fresh", "--no-build-isolation")
    assert "confirm with `--yes`" in message
    done = gateway.run("install", tmp_path / "fresh", "--no-build-isolation", "--yes")
    assert done.returncode == 0, done.stderr
    assert "- reads and changes requests (hook `transform_request`)" in done.stderr
    assert gateway.has("plugway-fresh")


@pytest.mark.parametrize(
    "name", ["plugway-router", "Plugway_Router", "plugway.router", "plugway", "plugway-router>=0"]
)
def test_a_package_of_plugway_is_never_looked_for_on_an_index(tmp_path, name):
    reason = "which is not published on an index: install it from a clone"
    with pytest.raises(PlugwayError, match=reason) as caught:
        requirements([name], _pip.Source(), tmp_path, isolated=True)
    assert ("./kernel" if name == "plugway" else "./plugins/router") in str(caught.value)


@pytest.mark.parametrize(
    "name", ["./some-1.0.tar.gz", "some-1.0.tar.gz", "./setup-only", "gone.whl", "a b", "-r x", ""]
)
def test_what_is_no_package_wheel_or_source_folder_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("some-1.0.tar.gz").touch()  # its build would run
    Path("setup-only").mkdir()
    Path("setup-only", "setup.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(PlugwayError, match="is neither a package name, a wheel") as caught:
        requirements([name], _pip.Source(), tmp_path, isolated=True)
    assert name in str(caught.value)


def test_every_package_of_this_repository_is_known():
    folders = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
    assert folders - OWN == set(), "add it to `plugway_install/_names.py`"
    assert own_folder("plugway-mine") == ""
    assert resembles_own("plugway-routter") == "plugway-router"
    assert resembles_own("plugway-router") == resembles_own("something") == ""


def test_a_plugin_cannot_bring_a_package_of_plugway_from_an_index(gateway, wheels, index):
    for name, requires in {"probe-one": ["plugway-tools>=9"], "plugway-tools": []}.items():
        version = "9.0" if name == "plugway-tools" else "1.0"
        path = make_wheel(wheels / name, name, version, requires=requires, points={})
        (wheels / name / "index.html").write_text(
            f'<a href="{path.name}#sha256={sha256(path)}">x</a>'
        )
    message = refused(gateway, "install", "probe-one", "--yes", PIP_INDEX_URL=index)
    assert "`plugway-tools` is a package of Plugway, which is not published" in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"altered": {"probe_one/__init__.py": "evil"}}, "is not what its RECORD says"),
        ({"unlisted": {"probe_one/more.py": "evil"}}, "its RECORD does not list"),
        ({"unlisted": {"../evil.py": "x"}}, "leads out of its folder"),
        ({"unlisted": {"/tmp/evil.py": "x"}}, "leads out of its folder"),
        ({"unlisted": {"a\\..\\evil.py": "x"}}, "leads out of its folder"),
        ({"unlisted": {"PROBE_ONE/__init__.py": "x"}}, "twice"),
        ({"unlisted": {"evil-1.0.dist-info/METADATA": "x"}}, "2 `.dist-info` folders"),
        ({"metadata": "Name: probe-two\nVersion: 1.0\n"}, "names `probe-two` 1.0"),
        ({"metadata": "Name: probe-one\nVersion: 2.0\n"}, "names `probe-one` 2.0"),
        ({"files": {"evil.pth": "import os"}}, "'evil.pth' would run whenever Python starts"),
        ({"files": {"sitecustomize.py": ""}}, "would run whenever Python starts"),
        ({"files": {"probe_one-1.0.data/data/x/Evil.PTH": ""}}, "whenever Python starts"),
        ({"files": {"probe_one-1.0.data/other/x": ""}}, "unknown scheme"),
        ({"files": {"plugway_router/evil.py": ""}, "points": {}}, "the module `plugway_router`"),
        ({"files": {"json/__init__.py": ""}, "points": {}}, "the module `json` belongs to"),
        ({"points": {"plugway": {"router": "probe_one:Probe"}}}, "belongs to `plugway-router`"),
        (
            {"points": {"plugway.commands": {"install": "probe_one:Probe"}}},
            "the name `install` belongs to `plugway-install`",
        ),
        ({"files": {"probe_one/plugway-permissions.toml": "hoks = []"}}, "unknown key `hoks`"),
        ({"files": {"probe_one/plugway-permissions.toml": 'hooks = ["x"]'}}, "no hook `x`"),
    ],
)
def test_a_wheel_that_must_not_be_installed_is_refused_with_the_reason(wheels, change, reason):
    path = make_wheel(wheels, **change)
    with pytest.raises(PlugwayError, match="is refused") as caught:
        wheel = inspect(path, Pin("probe-one", "1.0", sha256(path)))
        HERE.refuse_collisions([wheel])
    assert reason in str(caught.value)


def test_a_wheel_with_another_hash_than_its_lock_is_refused(wheels):
    path = make_wheel(wheels)
    with pytest.raises(PlugwayError, match="as it was locked"):
        inspect(path, Pin("probe-one", "1.0", "0" * 64))
    path.write_bytes(b"not an archive")
    with pytest.raises(PlugwayError, match="not a valid archive"):
        inspect(path, Pin("probe-one", "1.0", sha256(path)))


def test_a_link_in_a_wheel_is_refused(wheels):
    path = make_wheel(wheels)
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("probe_one/link.py")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(PlugwayError, match="contains the link"):
        inspect(path, Pin("probe-one", "1.0", sha256(path)))


def test_a_refused_wheel_changes_nothing(gateway, wheels):
    path = make_wheel(wheels, files={"evil.pth": "import os"})
    assert "would run whenever Python starts" in refused(gateway, "install", path, "--yes")


@pytest.mark.slow
def test_a_script_of_another_package_is_not_replaced(gateway, wheels):
    point = {"console_scripts": {"tool": "probe_one:main"}}
    assert gateway.run("install", make_wheel(wheels, points=point), "--yes").returncode == 0
    other = make_wheel(wheels, "probe-two", points={"console_scripts": {"tool": "probe_two:main"}})
    assert "belongs to `probe-one`" in refused(gateway, "install", other, "--yes")


def test_permissions_that_are_missing_or_too_wide_stand_out(wheels):
    def shown(files):
        path = make_wheel(wheels, files=files)
        wheel = inspect(path, Pin("probe-one", "1.0", sha256(path)))
        return "\n".join(Plan((wheel,), SignedList(), wheels, HERE).lines())

    code = {"probe_one/__init__.py": ""}
    assert "- declares nothing: it can do all that the gateway can" in shown(code)
    wide = 'hosts = ["*"]\nfiles = ["~"]\nprocesses = ["*"]\n'
    text = shown({**code, "probe_one/plugway-permissions.toml": wide})
    for words in ("connects to ANY host", "reads and writes ALL your files", "starts ANY program"):
        assert words in text


def test_a_lock_is_written_and_installs_the_same_files_only(gateway, wheels, tmp_path):
    path = make_wheel(wheels)
    lock = tmp_path / "lock.txt"
    words = ("install", "probe-one", "--from", wheels, "--write-lock", lock, "--dry-run")
    assert gateway.run(*words).returncode == 0
    assert lock.read_text() == f"probe-one==1.0 --hash=sha256:{sha256(path)}\n"
    message = refused(gateway, *words)
    assert f"`{lock}` exists already: name another file, or add `--force`" in message
    assert gateway.run(*words, "--force").returncode == 0
    make_wheel(wheels, files={"probe_one/__init__.py": "another = 1\n"})
    message = refused(gateway, "install", "--lock", lock, "--from", wheels, "--yes")
    assert "pip download` failed" in message
    assert "hash" in message.lower()


@pytest.mark.parametrize(
    "line",
    [
        "probe-one>=1.0",
        "probe-one==1.0",
        f"probe-one==new --hash=sha256:{'a' * 64}",
        f"--index-url==1.0 --hash=sha256:{'a' * 64}",
        f"-r==/etc/hostname --hash=sha256:{'a' * 64}",
        f"probe-one==1.0 --hash=sha256:{'z' * 64}",
    ],
)
def test_a_lock_has_versions_with_hashes_and_no_options_of_pip(tmp_path, line):
    good = f"# mine\n\nProbe_One==1.0.post1+local --hash=sha256:{'a' * 64}\n"
    assert _pip.read_lock(good, tmp_path) == (Pin("probe-one", "1.0.post1+local", "a" * 64),)
    with pytest.raises(PlugwayError, match=":4: not a line of a lock"):
        _pip.read_lock(good + line, tmp_path)


def test_a_failed_installation_restores_the_former_version(gateway, wheels):
    gateway.unpack(make_wheel(wheels))
    newer = make_wheel(wheels, version="2.0", files={"probe_one/__init__.py": "", "added.py": ""})
    # a folder stands where a file of the new version belongs, so that pip fails halfway
    (gateway.site / "added.py").mkdir()
    (gateway.site / "added.py" / "mine.txt").write_text("kept")
    message = refused(gateway, "install", newer, "--yes")
    assert "failed" in message
    assert gateway.has("probe-one")


ALTER = """import atexit, pathlib, sys
file = pathlib.Path(__file__).parents[1] / "probe_one" / "__init__.py"
atexit.register(lambda: file.exists() and file.write_text("altered"))
"""
REAL = """import runpy
sys.path[:] = [p for p in sys.path if p != str(pathlib.Path(__file__).parents[1])]
for name in [n for n in sys.modules if n == "pip" or n.startswith("pip.")]:
    del sys.modules[name]
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""The end of a `pip` in front of the real one."""


def test_a_file_that_is_altered_while_it_is_installed_is_noticed(gateway, wheels):
    """A `pip` that writes something else than the wheel has."""
    fake = gateway.site / "pip"
    fake.mkdir()
    (fake / "__init__.py").write_text("")
    (fake / "__main__.py").write_text(ALTER + REAL)
    message = refused(gateway, "install", make_wheel(wheels), "--yes")
    assert "is not the file of the wheel" in message
    assert not gateway.has("probe-one")


STOP = """import pathlib, sys, time, shutil, os
if sys.argv[1] == "install" and "--dry-run" not in sys.argv:
    site = pathlib.Path(__file__).parents[1]
    (site / "probe_one" / "__init__.py").unlink()
    os.rename(site / "probe_one-1.0.dist-info", site / "~robe_one-1.0.dist-info")
    (site / "probe_one" / "half.py").write_text("half")
    print("halfway", file=open(os.environ["MARK"], "w"), flush=True)
    while True:
        time.sleep(60)
"""


@pytest.fixture
def halfway(gateway, wheels, tmp_path):
    """An installation that stands still after pip removed half of the former version."""
    gateway.unpack(make_wheel(wheels))
    before = gateway.files()
    fake = gateway.site / "pip"
    fake.mkdir()
    (fake / "__init__.py").write_text("")
    (fake / "__main__.py").write_text(STOP + REAL)
    mark = tmp_path / "mark"
    os.mkfifo(mark)
    files = {"probe_one/__init__.py": "", "probe_one/half.py": "half"}
    newer = make_wheel(wheels, version="2.0", files=files)
    process = gateway.start("install", newer, "--yes", MARK=str(mark))
    assert mark.read_text() == "halfway\n", process.communicate()
    programs = psutil.Process(process.pid).children(recursive=True)
    yield process, before
    if process.poll() is None:
        process.kill()
    process.communicate()
    for program in programs:  # the pip of a command that was killed waits for ever
        with suppress(psutil.NoSuchProcess):
            program.kill()


def without_fake(gateway):
    return {name: text for name, text in gateway.files().items() if "/pip/" not in name}


def test_ctrl_c_restores_the_former_version(gateway, halfway):
    process, before = halfway
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert without_fake(gateway) == before


def test_the_next_command_restores_what_a_crash_left(gateway, halfway):
    process, before = halfway
    busy = gateway.run("install", "probe-one", "--yes")
    assert "another installation is in progress" in busy.stderr
    process.kill()
    process.communicate()
    assert without_fake(gateway) != before
    done = gateway.run("install", "probe-three", "--yes")
    assert "restored the environment" in done.stderr
    assert without_fake(gateway) == before


def test_an_environment_without_pip_is_named_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(_pip, "find_spec", lambda name: None)
    with pytest.raises(PlugwayError, match="has no pip: run `python -m ensurepip`"):
        _pip.resolve(["probe-one"], _pip.Source(), tmp_path)


@pytest.mark.parametrize("error", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_an_environment_that_cannot_be_written_is_named_and_not_changed(monkeypatch, error):
    def fail(self, *_, **__):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "mkdir", fail)
    with (
        pytest.raises(PlugwayError, match=f"cannot write to the environment.*{os.strerror(error)}"),
        _change.undone_on_failure([], []),
    ):
        pytest.fail("it ran")


def test_a_full_disk_before_the_change_leaves_everything(tmp_path, monkeypatch):
    monkeypatch.setattr(_change.sys, "prefix", str(tmp_path))
    path = tmp_path / "file.py"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_change.os, "link", full)
    monkeypatch.setattr(_change.shutil, "copy2", full)
    with pytest.raises(OSError, match="No space"), _change.undone_on_failure([path], []):
        pytest.fail("it ran")
    assert [p.name for p in tmp_path.iterdir()] == ["file.py"]


def test_a_full_disk_during_the_change_restores_without_space(tmp_path, monkeypatch):
    monkeypatch.setattr(_change.sys, "prefix", str(tmp_path))
    old, new, mine = (tmp_path / name for name in ("old.py", "new.py", "mine.py"))
    old.write_text("old")
    mine.write_text("mine")  # belongs to no package
    with pytest.raises(OSError, match="No space"), _change.undone_on_failure([old], [new, mine]):
        for path in (old, mine):
            path.unlink()
            path.write_text("new version")
        new.write_text("new")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (old.read_text(), mine.read_text()) == ("old", "mine")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.py", "old.py"]


def test_what_another_package_needs_is_found():
    assert "plugway-install" in HERE.needed_by(["plugway-packages"])["plugway-packages"]
    assert HERE.needed_by(["plugway-nothing"]) == {}


@pytest.mark.slow
def test_a_package_in_use_or_needed_is_not_removed(gateway, wheels, tmp_path):
    make_wheel(wheels, "probe-lib", points={})
    path = make_wheel(wheels, requires=["probe-lib"])
    words = ("install", path, "--from", wheels, "--yes")
    assert gateway.run(*words).returncode == 0
    config = tmp_path / "c.yaml"
    config.write_text("plugins: [{use: probe-one}, {use: echo}]")
    config.chmod(0o600)
    message = refused(gateway, "remove", "probe-one", "--yes", "--config", config)
    assert "the configuration lists `probe-one` of `probe-one`: remove its entry" in message
    config.write_text("plugins: [{use: echo}]")
    message = refused(gateway, "remove", "probe-lib", "--yes", "--config", config)
    assert "`probe-lib` is needed by `probe-one`" in message
    assert "is not installed" in refused(gateway, "remove", "nothing-here", "--yes")
    assert "confirm with `--yes`" in refused(gateway, "remove", "Probe_One", "--config", config)
    done = gateway.run("remove", "Probe_One", "probe-lib", "--yes", "--config", config)
    assert done.returncode == 0, done.stderr
    assert not gateway.has("probe-one")
    assert not gateway.has("probe-lib")
    assert not (gateway.folder / ".plugway-install").exists()


def test_what_runs_from_a_source_folder_is_not_replaced(gateway, wheels):
    path = make_wheel(wheels, "plugway-router", "9.0")
    message = refused(gateway, "install", path, "--yes")
    assert "`plugway-router` runs from the folder file://" in message
