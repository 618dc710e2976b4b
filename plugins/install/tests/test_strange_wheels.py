"""Wheels that are made to deceive: what is refused, and what the plan says of the others."""

from __future__ import annotations

import shutil
import socket
import struct
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from install_wheels import PERMISSIONS, PLUGIN, make_wheel, sha256

from plugway import PlugwayError
from plugway_install import _environment, _pip
from plugway_install._environment import Environment
from plugway_install._pip import Pin, Source
from plugway_install._plan import Plan, make_plan
from plugway_install._signatures import SignedList
from plugway_install._wheel import inspect

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the environments are POSIX ones")
WIDE = 'hosts = ["*"]\n'
BOTH = {
    "probe_one/__init__.py": PLUGIN,
    "probe_one/plugway-permissions.toml": PERMISSIONS,
}
METADATA = "Metadata-Version: 2.1\nName: plugway-echo\nVersion: 9\n"


HERE = Environment()
"""The environment of the tests, read once."""


def checked(path, *others, environment=HERE):
    """The wheels after all checks that need no pip."""
    wheels = []
    for one in (path, *others):
        name, version = _pip.wheel_name(one)
        wheels.append(inspect(one, Pin(name, version, sha256(one))))
    environment.refuse_collisions(wheels)
    return wheels


def data(scheme, path):
    return f"probe_one-1.0.data/{scheme}/{path}"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        # a second file for a place that was shown already
        ({data("purelib", "probe_one/plugway-permissions.toml"): WIDE}, "twice"),
        ({data("platlib", "probe_one/__init__.py"): "evil"}, "twice"),
        # metadata in which entry points and permissions are not those that were shown
        ({data("purelib", "echo-9.dist-info/METADATA"): METADATA}, "metadata of another package"),
        ({data("purelib", "echo-9.dist-info/entry_points.txt"): ""}, "metadata of another package"),
        ({"echo.egg-info/PKG-INFO": METADATA}, "metadata of another package"),
        ({data("data", "{site}/x-1.dist-info/METADATA"): METADATA}, "metadata of another package"),
        # code that runs whenever Python starts
        ({data("purelib", "sitecustomize/__init__.py"): ""}, "whenever Python starts"),
        ({data("platlib", "usercustomize.cpython-311.so"): ""}, "whenever Python starts"),
        ({data("data", "{site}/probe.pth"): "import x"}, "whenever Python starts"),
        # what belongs to the environment
        ({data("scripts", "python"): "#!python\n"}, "would replace"),
        ({data("data", "pyvenv.cfg"): ""}, "would replace"),
        ({data("data", ".plugway-install/journal.json"): "{}"}, "an installation in progress"),
        # names that a terminal shows differently
        ({"probe_one/\x1b[2Kx.py": ""}, "would not show as it is"),
        ({"probe_one/\u202eyp.x": ""}, "would not show as it is"),
    ],
    ids=lambda value: ascii(value)[:50] if isinstance(value, str) else "",
)
def test_files_in_places_that_are_not_theirs_are_refused(tmp_path, more, reason):
    site = Path(sysconfig.get_path("purelib")).relative_to(sysconfig.get_path("data"))
    files = {name.replace("{site}", str(site)): text for name, text in more.items()}
    with pytest.raises(PlugwayError, match=r"is refused") as caught:
        checked(make_wheel(tmp_path, files=BOTH | files))
    assert reason in str(caught.value)


def test_a_link_of_the_environment_gives_no_file_a_second_name(tmp_path, monkeypatch):
    base, found = tmp_path / "env", sysconfig.get_path
    values = {"base": str(base), "platbase": str(base)}
    monkeypatch.setattr(sysconfig, "get_path", lambda name: found(name, vars=values))
    site = Path(sysconfig.get_path("purelib"))
    site.mkdir(parents=True)
    (base / "lib64").symlink_to(site)  # as Python's own `venv` makes it, but shorter
    wheel = make_wheel(tmp_path, files=BOTH | {data("data", "lib64/packaging/__init__.py"): "evil"})
    with pytest.raises(PlugwayError, match=r"which a link in .* leads elsewhere"):
        checked(wheel)


@pytest.mark.parametrize("kind", ["folder", "archive", "repository"])
def test_a_dependency_that_would_be_built_or_cloned_runs_nothing(tmp_path, kind):
    source, ran = tmp_path / "evil", tmp_path / "ran"
    source.mkdir()
    (source / "build.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    (source / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'build'\nbackend-path = ['.']\n"
    )
    (source / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    place = {
        "folder": source.as_uri(),
        "archive": f"{source.as_uri()}-1.0.tar.gz",
        "repository": f"git+{source.as_uri()}",
    }[kind]
    with tarfile.open(tmp_path / "evil-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "evil-1.0")
    wheel = make_wheel(tmp_path / "wheels", requires=[f"evil @ {place}"])
    with pytest.raises(PlugwayError, match="only wheels are installed") as caught:
        _pip.resolve([str(wheel)], Source(), tmp_path)
    assert not ran.exists()
    assert "evil" in str(caught.value)


def test_with_a_folder_of_wheels_a_dependency_elsewhere_is_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/evil-1.0-py3-none-any.whl"
        wheel = make_wheel(tmp_path / "wheels", requires=[f"evil @ {url}"])
        with pytest.raises(PlugwayError, match="a dependency is elsewhere"):
            _pip.resolve([str(wheel)], Source(wheel.parent), tmp_path)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ({"plugway": {"r\u043euter": "probe_one:Probe"}}, r"r\u043euter"),
        ({"plugway": {"a\x1b[2Kb": "probe_one:Probe"}}, "has other characters"),
        ({"plugway": {"-x": "probe_one:Probe"}}, "has other characters"),
        ({"console_scripts": {"../../evil": "probe_one:main"}}, "has other characters"),
        ({"plugway": {"mine": "plugway_echo:Echo"}}, "module `plugway_echo`, which it does not"),
        ({"plugway": {"mine": "os:system"}}, "the module `os`, which it does not contain"),
        ({"plugway.model_kinds": {"gguf": "probe_one:Probe"}}, "the name `gguf` belongs to"),
        ({"plugway.stack": {"starter": "probe_one"}}, "belongs to `plugway-starter`"),
    ],
    ids=lambda value: ascii(value)[:50] if isinstance(value, str) else "",
)
def test_entry_points_that_look_like_others_or_lead_elsewhere_are_refused(tmp_path, points, reason):
    with pytest.raises(PlugwayError, match=r"is refused") as caught:
        checked(make_wheel(tmp_path, points=points))
    assert reason in str(caught.value)


def test_two_new_packages_cannot_have_one_name(tmp_path):
    paths = [
        make_wheel(tmp_path, name, points={"plugway": {"same": f"{module}:Probe"}})
        for name, module in {"probe-one": "probe_one", "probe-two": "probe_two"}.items()
    ]
    with pytest.raises(PlugwayError, match="the name `same` belongs to `probe-one`"):
        checked(*paths)


def test_a_package_does_not_begin_a_namespace_that_others_share(tmp_path, monkeypatch):
    monkeypatch.setattr(
        _environment, "packages_distributions", lambda: {"shared": ["Somebody-Else"]}
    )
    (tmp_path / "site" / "shared").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    points = {"plugway": {"mine": "shared.mine:Probe"}}
    environment = Environment()
    shared = make_wheel(tmp_path, files={"shared/mine.py": PLUGIN}, points=points)
    checked(shared, environment=environment)
    begins = make_wheel(tmp_path, files={"shared/__init__.py": PLUGIN}, points=points)
    with pytest.raises(PlugwayError, match="is shared with `somebody-else`"):
        checked(begins, environment=environment)


def test_metadata_that_would_fill_the_memory_is_refused(tmp_path):
    declared = BOTH | {"probe_one/plugway-permissions.toml": "#" * (17 << 20)}
    for path in (
        make_wheel(tmp_path / "1", metadata="x" * (17 << 20)),
        make_wheel(tmp_path / "2", files=declared),
    ):
        with pytest.raises(PlugwayError, match="larger than 16 MiB"):
            checked(path)


def test_a_size_that_is_not_true_is_refused(tmp_path):
    path = make_wheel(tmp_path)
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"PK\x01\x02")  # the last entry of the central directory: `RECORD`
    raw[place + 24 : place + 28] = struct.pack("<I", 5)
    path.write_bytes(raw)
    with pytest.raises(PlugwayError, match="is refused"):
        checked(path)


def test_the_plan_names_programs_and_what_they_hide_and_what_libraries_will_load(tmp_path):
    points = {
        "plugway": {"probe-one": "probe_one:Probe"},
        "console_scripts": {"sh": "probe_one:main"},
        "pydantic": {"evil": "probe_one:Probe"},
    }
    wheels = checked(make_wheel(tmp_path, points=points, requires=["probe-two"]),
                     make_wheel(tmp_path, "probe-two"))  # fmt: skip
    shown = "\n".join(Plan(tuple(wheels), SignedList(), tmp_path, HERE).lines())
    assert f"`probe-one` brings the program `sh`, which hides {shutil.which('sh')}" in shown
    assert "`probe-one` registers something for pydantic" in shown
    assert "`probe-two` provides probe-two, and declares that it" in shown, "a dependency"


def test_what_its_author_withdrew_is_marked(tmp_path):
    item = {
        "metadata": {"name": "probe-one", "version": "1.0"},
        "download_info": {"url": "file:///x", "archive_info": {"hashes": {"sha256": "a" * 64}}},
        "is_yanked": True,
    }
    pin = _pip._pin(item)
    wheel = inspect(path := make_wheel(tmp_path), Pin("probe-one", "1.0", sha256(path)))
    plan = Plan((wheel,), SignedList(), tmp_path, HERE)
    assert "yanked" not in "".join(plan.lines())
    object.__setattr__(wheel, "pin", pin)
    assert "probe-one 1.0, withdrawn by its author (yanked)" in "".join(plan.lines())


def test_a_wheel_that_is_replaced_after_it_was_chosen_is_refused(tmp_path):
    path = make_wheel(tmp_path / "wheels")
    pin = Pin("probe-one", "1.0", sha256(path), path.as_uri())
    make_wheel(tmp_path / "wheels", files={"probe_one/__init__.py": "evil"})
    (tmp_path / "work").mkdir()
    with pytest.raises(PlugwayError, match="as it was locked"):
        make_plan([pin], Source(), tmp_path / "work", signed_list=None, unsigned=True)


def test_a_wheel_that_is_replaced_after_it_was_shown_is_not_what_is_installed(tmp_path):
    path = make_wheel(tmp_path / "wheels")
    pin = Pin("probe-one", "1.0", sha256(path), path.as_uri())
    (tmp_path / "work").mkdir()
    plan = make_plan([pin], Source(), tmp_path / "work", signed_list=None, unsigned=True)
    make_wheel(tmp_path / "wheels", files={"probe_one/__init__.py": "evil"})
    (kept,) = plan.folder.glob("*.whl")
    assert sha256(kept) == pin.sha256


def test_a_name_in_another_script_is_not_a_package_of_plugway(tmp_path):
    """`plugway-router` with a Cyrillic letter: it is refused as the name of a file."""
    path = make_wheel(tmp_path, file="plugway_r\u043euter-1.0-py3-none-any.whl")
    with pytest.raises(PlugwayError, match="is not the name of a wheel"):
        checked(path)


def test_an_archive_with_appended_data_has_another_hash(tmp_path):
    path = make_wheel(tmp_path)
    pin = Pin("probe-one", "1.0", sha256(path))
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(PlugwayError, match="as it was locked"):
        inspect(path, pin)
    assert zipfile.is_zipfile(path)
