"""Ways around an approval: other code under an approved name, and files that nobody compared."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from plugway import PlugwayError
from plugway_packages import Approvals, fingerprint, observed, observed_path, packages_of_plugins


@pytest.fixture(autouse=True)
def own_python(monkeypatch, tmp_path):
    """What a test imports, and where compiled code lies, ends with it."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


class Site:
    """A folder of installed packages, first on the path."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.folder.mkdir()
        self.approvals = folder.parent / "approved.json"
        self.approvals.write_text("{}")
        monkeypatch.syspath_prepend(str(folder))

    def install(self, name, files, points, *, info="", origin=None):
        for path, text in files.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        folder = self.folder / (info or f"{name.replace('-', '_')}-1.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (folder / "RECORD").write_text("".join(f"{path},sha256=x,1\n" for path in files))
        lines = "".join(f"{key} = {value}\n" for key, value in points.items())
        (folder / "entry_points.txt").write_text(f"[plugway]\n{lines}")
        if origin is not None:
            url = {"url": origin.as_uri(), "dir_info": {"editable": True}}
            (folder / "direct_url.json").write_text(json.dumps(url))
        importlib.invalidate_caches()

    def approve(self, name):
        self.approvals.write_text(json.dumps({name: fingerprint(name)}))

    def load(self, point):
        (found,) = [
            p
            for dist in distributions(path=[str(self.folder)])
            for p in dist.entry_points
            if p.name == point
        ]
        importlib.invalidate_caches()
        return Approvals(self.approvals).load(found)


@pytest.fixture
def site(tmp_path, monkeypatch):
    return Site(tmp_path / "site", monkeypatch)


GOOD, EVIL = "Thing = 'good'\n", "Thing = 'evil'\n"


def test_a_package_is_loaded_after_it_was_approved(site):
    site.install("good-one", {"good_one/__init__.py": GOOD}, {"one": "good_one:Thing"})
    with pytest.raises(PlugwayError, match="is not approved: review it"):
        site.load("one")
    site.approve("good-one")
    assert site.load("one") == "good"


def test_a_package_that_claims_the_name_of_an_approved_one_is_not_approved(site):
    site.install("good-one", {"good_one/__init__.py": GOOD}, {"one": "good_one:Thing"})
    site.approve("good-one")
    site.install("good-one", {"evil.py": EVIL}, {"other": "evil:Thing"}, info="zzz-1.dist-info")
    with pytest.raises(PlugwayError, match="has changed since it was approved"):
        site.load("other")


def test_a_module_of_another_package_is_not_imported_in_its_place(site, tmp_path, monkeypatch):
    site.install("good-one", {"good_one.py": GOOD}, {"one": "good_one:Thing"})
    site.approve("good-one")
    (site.folder / "good_one").mkdir()
    (site.folder / "good_one" / "__init__.py").write_text(EVIL)  # a folder comes before a module
    with pytest.raises(PlugwayError, match=r"would be imported from .*good_one.__init__\.py"):
        site.load("one")


def test_an_earlier_folder_of_the_path_is_not_imported_in_its_place(site, tmp_path, monkeypatch):
    site.install("good-one", {"deep/good/one.py": GOOD}, {"one": "deep.good.one:Thing"})
    site.approve("good-one")
    assert site.load("one") == "good"
    for name in [name for name in sys.modules if name.startswith("deep")]:
        del sys.modules[name]
    early = tmp_path / "early" / "deep" / "good"
    early.mkdir(parents=True)
    (early / "one.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(tmp_path / "early"))
    with pytest.raises(PlugwayError, match=r"would be imported from .*early"):
        site.load("one")


def test_compiled_code_beside_a_module_is_not_run(site):
    site.install("good-one", {"good_one/__init__.py": GOOD}, {"one": "good_one:Thing"})
    site.approve("good-one")
    source = site.folder / "good_one" / "__init__.py"
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir()
    code = compile(EVIL, str(source), "exec")
    raw = importlib._bootstrap_external._code_to_timestamp_pyc(
        code, int(source.stat().st_mtime), source.stat().st_size
    )
    cached.write_bytes(raw)
    assert importlib.util.find_spec("good_one").cached == str(cached)
    assert site.load("one") == "good"


@pytest.mark.parametrize("layout", ["src/good_one", "good_one", "lib/good_one"])
@pytest.mark.parametrize("name", ["__init__.py", "more.abi3.so", "deep/added.py", "x.pyc"])
def test_an_editable_folder_is_compared_whatever_its_layout(site, tmp_path, layout, name):
    package = tmp_path / "project" / layout
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(GOOD)
    points = {"one": "good_one:Thing"}
    site.install("good-one", {}, points, origin=tmp_path / "project")
    before = fingerprint("good-one")
    (package / name).parent.mkdir(exist_ok=True)
    (package / name).write_text(EVIL)
    assert fingerprint("good-one") != before


def test_a_linked_folder_is_compared_and_a_circle_ends(site, tmp_path):
    real, project = tmp_path / "real", tmp_path / "project" / "src"
    real.mkdir()
    project.mkdir(parents=True)
    (real / "__init__.py").write_text(GOOD)
    (real / "again").symlink_to(real)
    (project / "good_one").symlink_to(real)
    site.install("good-one", {}, {"one": "good_one:Thing"}, origin=tmp_path / "project")
    before = fingerprint("good-one")
    (real / "__init__.py").write_text(EVIL)
    assert fingerprint("good-one") != before


def test_caches_and_other_environments_in_a_source_folder_do_not_count(site, tmp_path):
    project = tmp_path / "project"
    (project / "good_one").mkdir(parents=True)
    (project / "good_one" / "__init__.py").write_text(GOOD)
    site.install("good-one", {}, {"one": "good_one:Thing"}, origin=project)
    before = fingerprint("good-one")
    for folder in ("good_one/__pycache__", ".git", "env/lib"):
        (project / folder).mkdir(parents=True)
        (project / folder / "x.py").write_text(EVIL)
    (project / "env" / "pyvenv.cfg").touch()
    assert fingerprint("good-one") == before


def test_every_group_of_plugway_makes_a_package_one_of_plugins(site):
    site.install("good-one", {}, {})
    (site.folder / "good_one-1.dist-info" / "entry_points.txt").write_text(
        "[plugway.whatever_comes]\nx = y\n[plugwayish]\nx = y\n"
    )
    assert "good-one" in packages_of_plugins()
    (site.folder / "good_one-1.dist-info" / "entry_points.txt").write_text("[plugwayish]\nx = y\n")
    assert "good-one" not in packages_of_plugins()


@pytest.mark.parametrize("raw", [b"", b"[]", b"{", b"\xff", b'{"a": 3}', b'{"a": {"seen": 4}}'])
def test_a_file_of_observations_that_is_damaged_says_nothing(raw):
    path = observed_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    assert not any(observed({"a": "1"}).values())


def test_observations_are_those_of_the_installed_version():
    path = observed_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"a": {"version": "1", "seen": ["started `x`", "\x1b[2K"]}}))
    assert observed({"a": "1"}) == {"a": ["started `x`"]}
    assert observed({"a": "2", "b": "1"}) == {}
    assert os.access(path, os.R_OK)
