"""What a wheel holds and declares, so that it works where nothing else of this repository lies."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_string
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from hatchling import build

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT / "kernel", *sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))]
TEMPLATE = ROOT / "plugin-template"
DISTRIBUTIONS = packages_distributions()
FROM_A_LIST = {"keyring": {"keyring"}}
"""Libraries whose modules a package imports by names that it has in a list."""
WITH_ITS_EXTRAS = {"dashboard": {"_stored.py", "0001_history.py"}}
"""Modules that are imported only if another plugin is listed, whose libraries they need."""

packages = pytest.mark.parametrize("folder", PACKAGES, ids=lambda folder: folder.name)


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def normal(name):
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def files(folder):
    """What belongs to the repository in `folder`, as paths below it."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=folder, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (folder / name).is_file()}


def imported(path):
    """Top-level modules that a source imports: (by statement, by name with `import_module`)."""
    plain, named = set(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            plain.add(node.module)
        elif isinstance(node, ast.Import):
            plain |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            named |= {a.value for a in node.args if isinstance(a, ast.Constant)}
    return [{module.partition(".")[0] for module in modules} for modules in (plain, named)]


@pytest.mark.parametrize("folder", [*PACKAGES, TEMPLATE], ids=lambda folder: folder.name)
def test_a_package_declares_what_it_imports_and_no_other_library(folder):
    declared = {normal(d) for d in project(folder)["dependencies"]}
    extras = project(folder).get("optional-dependencies", {}).values()
    optional = declared | {normal(d) for extra in extras for d in extra}
    own = {path.name for path in (folder / "src").iterdir()} | sys.stdlib_module_names
    used = set()
    for path in folder.glob("src/**/*.py"):
        plain, named = imported(path)
        extra = path.name == "testing.py" or path.name in WITH_ITS_EXTRAS.get(folder.name, ())
        for modules, allowed in (plain, optional if extra else declared), (named, optional):
            for module in modules - own:
                found = {normal(name) for name in DISTRIBUTIONS.get(module, [module])}
                assert found & allowed, f"{path.name} imports `{module}`, which is not declared"
                used |= found
    # Packages of ours may be there for what they add to a gateway.
    libraries = {name for name in declared if not name.startswith("plugway")}
    assert libraries <= used | FROM_A_LIST.get(folder.name, set())


@packages
def test_a_wheel_holds_every_file_of_its_package_the_license_and_nothing_else(
    folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(folder)
    wheel = zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path)))
    (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    expected = files(folder / "src")
    if folder.name == "commands":
        expected |= {f"plugway_commands/_template/{name}" for name in files(TEMPLATE)}
    assert {n for n in wheel.namelist() if not n.startswith(f"{info}/")} == expected

    told = message_from_string(wheel.read(f"{info}/METADATA").decode())
    said = project(folder)
    assert (told["License-Expression"], told["License-File"]) == (said["license"], "LICENSE")
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (told["Summary"], told["Requires-Python"]) == (said["description"], ">=3.11")
    assert told["Description-Content-Type"] == "text/markdown"
    assert told.get_payload() == (folder / "README.md").read_text()
    assert {normal(d) for d in said["dependencies"]} == {
        normal(d) for d in told.get_all("Requires-Dist", []) if "extra ==" not in d
    }
    points = dict(said.get("entry-points", {}))
    if "scripts" in said:
        points["console_scripts"] = said["scripts"]
    parser = configparser.ConfigParser(delimiters="=")
    if f"{info}/entry_points.txt" in wheel.namelist():
        parser.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    assert {name: dict(parser[name]) for name in parser.sections()} == points
