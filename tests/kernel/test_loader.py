"""Finding and building plugins: only what is listed is imported, every mistake is told at once."""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugway.config.config import parse_config
from plugway.plugins.loader import installed
from plugway.plugins.plugin import Plugin
from plugway.types.errors import ConfigError, Problem
from plugway_packages import startup_files
from tests.kernel.loading import load_plugins

GOOD = """
from plugway import Options, Plugin, Secret

class Inner(Options):
    size: int = 1

class Opts(Options):
    suffix: str
    \"\"\"What is appended.\"\"\"
    api_key: Secret | None = None
    inner: Inner = Inner()
    rules: dict[str, list[int | Inner]] = {}

class Good(Plugin[Opts]):
    pass

class Plain(Plugin):
    pass
"""


class Site:
    """A folder of packages on `sys.path`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(
        self, distribution: str, points: dict[str, str], files: dict[str, str], **extra: str
    ) -> None:
        info = self.folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n"
        )
        lines = "\n".join(f"{name} = {target}" for name, target in points.items())
        (info / "entry_points.txt").write_text(f"[plugway]\n{lines}\n")
        for name, text in files.items():
            (self.folder / name).write_text(text)
        (info / "RECORD").write_text("\n".join(f"{name},," for name in files))
        for name, text in extra.items():
            (info / name.replace("__", ".")).write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if name.startswith("probe_"):
            del sys.modules[name]


@pytest.fixture
def good(site: Site, tmp_path: Path) -> Site:
    module = "probe_" + hashlib.sha256(str(tmp_path).encode()).hexdigest()[:8]
    points = {"good": f"{module}:Good", "plain": f"{module}:Plain"}
    site.add("plugway-good", points, {f"{module}.py": GOOD})
    return site


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_plugins(parse_config(text, "c.yaml"))
    return list(caught.value.problems)


def the_problem(text: str) -> str:
    (problem,) = problems_of(text)
    return str(problem)


def test_what_is_installed_is_known_without_importing_it(site: Site) -> None:
    site.add("plugway-bomb", {"bomb": "probe_bomb:Bomb"}, {"probe_bomb.py": "raise SystemExit"})
    found = installed()["bomb"]
    assert (found.name, found.distribution, found.version) == ("bomb", "plugway-bomb", "1.2")
    assert "probe_bomb" not in sys.modules


def test_only_listed_plugins_are_imported(good: Site) -> None:
    good.add("plugway-other", {"other": "probe_other:X"}, {"probe_other.py": "raise SystemExit"})
    load_plugins(parse_config("plugins: [{use: good, options: {suffix: x}}]"))
    assert "probe_other" not in sys.modules


@pytest.mark.usefixtures("good")
def test_instances_come_in_order_with_their_names_and_options() -> None:
    text = """plugins:
  - {use: good, name: one, options: {suffix: a}}
  - use: plain
  - {use: good, name: two, options: {suffix: b, inner: {size: 3}, rules: {x: [1, {size: 2}]}}}
"""
    one, plain, two = load_plugins(parse_config(text))
    assert [plugin.name for plugin in (one, plain, two)] == ["one", "plain", "two"]
    assert (one.options.suffix, two.options.inner.size) == ("a", 3)
    assert type(one) is type(two)
    assert isinstance(plain, Plugin)


@pytest.mark.usefixtures("good")
def test_every_mistake_of_every_plugin_is_told_at_its_place() -> None:
    text = """plugins:
  - use: good
    options:
      sufix: x
      inner:
        sice: 2
      rules:
        a: [1, two]
  - use: goood
  - use: plain
    options: {anything: 1}
  - use: good
    name: last
"""
    found = problems_of(text)
    told = {(p.where, p.path): p for p in found}
    assert told[("c.yaml:4:7", "plugins[0].options.sufix")].fix == "did you mean `suffix`?"
    assert told[("c.yaml:3:5", "plugins[0].options.suffix")].fix == "What is appended."
    assert told[("c.yaml:6:9", "plugins[0].options.inner.sice")].fix == "did you mean `size`?"
    assert ("c.yaml:8:16", "plugins[0].options.rules.a[1]") in told
    unknown = told[("c.yaml:9:5", "plugins[1].use")]
    assert unknown.reason == "no installed plugin is called `goood`"
    assert unknown.fix == "did you mean `good`? If not, install the package that provides it"
    assert told[("c.yaml:11:15", "plugins[2].options.anything")].fix == "options here: none"
    assert ("c.yaml:12:5", "plugins[3].options.suffix") in told
    assert [p.where for p in found] == sorted(
        (p.where for p in found), key=lambda where: [int(n) for n in where.split(":")[1:]]
    )


@pytest.mark.usefixtures("good")
def test_a_plain_key_is_refused_beside_other_mistakes() -> None:
    found = problems_of("plugins: [{use: good, name: cloud, options: {api_key: sk-hidden}}]")
    text = "\n".join(map(str, found))
    assert "{$keyring: cloud}" in text
    assert "plugins[0].options.suffix" in text
    assert "sk-hidden" not in text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import no_such_module_here", "No module named 'no_such_module_here'"),
        ("def broken(:", "SyntaxError: "),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("raise BaseException('out')", "BaseException: out"),
        ("", "AttributeError: "),
        ("class Thing: pass", "is a class `Thing`, not a subclass of `plugway.Plugin`"),
        ("def Thing(): pass", "is a function, not a subclass of `plugway.Plugin`"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named_with_its_distribution(
    site: Site, body: str, words: str
) -> None:
    site.add("plugway-bad", {"bad": "probe_bad:Thing"}, {"probe_bad.py": body})
    problem = the_problem("plugins: [{use: bad}]")
    assert problem.startswith("c.yaml:1:12: `plugins[0].use`: plugin `bad` (distribution ")
    assert "`plugway-bad 1.2`" in problem
    assert words in problem


def test_a_plugin_that_fails_while_it_is_built_is_named_without_its_message(site: Site) -> None:
    body = """
from plugway import Plugin
class Bad(Plugin):
    def __init__(self, options, *, name=""):
        raise ValueError("hidden-value")
"""
    site.add("plugway-bad", {"bad": "probe_built:Bad"}, {"probe_built.py": body})
    problem = the_problem("plugins: [{use: bad}]")
    assert "raised ValueError in `__init__` (line 5 of " in problem
    assert "hidden-value" not in problem


def test_nothing_is_returned_when_one_of_several_fails(good: Site) -> None:
    good.add("plugway-bad", {"bad": "probe_none:X"}, {"probe_none.py": ""})
    problem = the_problem("plugins: [{use: good, options: {suffix: x}}, {use: bad}]")
    assert "plugins[1]" in problem


def test_one_name_claimed_by_two_distributions_is_refused_naming_both(site: Site) -> None:
    body = "from plugway import Plugin\nclass P(Plugin): pass"
    site.add("plugway-first", {"twin": "probe_twin:P"}, {"probe_twin.py": body})
    site.add("evil-second", {"twin": "probe_evil:P"}, {"probe_evil.py": "raise SystemExit"})
    found = installed()["twin"]
    assert {found.distribution, *found.rivals} == {"plugway-first", "evil-second"}
    problem = the_problem("plugins: [{use: twin}]")
    assert "plugway-first" in problem
    assert "evil-second" in problem
    assert "probe_twin" not in sys.modules


ORDERED = """
from plugway import Plugin
class Outer(Plugin):
    outside = ("inner",)
class Inner(Plugin):
    requires = ("outer", "third")
"""


def test_a_wrong_order_names_both_lines_and_a_missing_companion_the_entry(site: Site) -> None:
    points = {"outer": "probe_order:Outer", "inner": "probe_order:Inner"}
    site.add("plugway-order", points, {"probe_order.py": ORDERED})
    found = [str(p) for p in problems_of("plugins:\n  - use: inner\n  - use: outer\n")]
    assert found == [
        "c.yaml:2:5: `plugins[0]`: `inner` needs the plugin `third`, which is not listed"
        " - add `- use: third`",
        "c.yaml:3:5: `plugins[1]`: `outer` must be listed before `inner`, which is at c.yaml:2:5"
        " - move one of the entries",
    ]
    assert len(problems_of("plugins:\n  - use: outer\n  - use: inner\n")) == 1


# ── files that run whenever Python starts ──────────────────────────────────────────────────────

PLUGIN = {"probe": "probe_pth:P"}
IMPORT = "import os; os.environ['HIDDEN'] = '1'\n"


def test_a_plugin_that_brings_a_pth_file_with_code_is_refused(site: Site) -> None:
    site.add("plugway-sly", PLUGIN, {"sly.pth": IMPORT})
    (problem,) = startup_files([site.folder], {}).refused
    assert str(site.folder / "sly.pth") in str(problem)
    assert "`plugway-sly` runs this file whenever Python starts" in str(problem)
    assert "pip uninstall plugway-sly" in str(problem)


def test_a_plugin_that_brings_sitecustomize_is_refused(site: Site) -> None:
    site.add("plugway-sly", PLUGIN, {"sitecustomize.py": "x = 1"})
    assert len(startup_files([site.folder], {}).refused) == 1


def test_the_start_is_refused_even_where_the_plugin_is_not_listed(
    site: Site, good: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.add("plugway-sly", PLUGIN, {"sly.pth": IMPORT})
    paths = {**sysconfig.get_paths(), "purelib": str(site.folder)}
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)
    monkeypatch.delenv("PLUGWAY_ALLOW_PTH", raising=False)
    text = "plugins: [{use: good, options: {suffix: x}}]"
    assert "plugway-sly" in the_problem(text)
    monkeypatch.setenv("PLUGWAY_ALLOW_PTH", "1")
    assert len(load_plugins(parse_config(text))) == 1


def test_an_override_turns_the_refusal_into_a_warning(site: Site) -> None:
    site.add("plugway-sly", PLUGIN, {"sly.pth": IMPORT})
    found = startup_files([site.folder], {"PLUGWAY_ALLOW_PTH": "1"})
    assert found.refused == ()
    assert len(found.warnings) == 1


def test_a_pth_file_of_another_package_or_of_nobody_is_a_warning(site: Site) -> None:
    site.add("some-tool", {}, {"tool.pth": IMPORT})
    (site.folder / "orphan.pth").write_text(IMPORT)
    found = startup_files([site.folder], {})
    assert found.refused == ()
    assert any("`some-tool`" in warning for warning in found.warnings)
    assert any("no known package" in warning for warning in found.warnings)


def test_paths_and_common_tools_are_no_news(site: Site) -> None:
    (site.folder / "plain.pth").write_text("/some/folder\n# import this\n")
    (site.folder / "distutils-precedence.pth").write_text(IMPORT)
    (site.folder / "_virtualenv.pth").write_text("import _virtualenv")
    (site.folder / "__editable__.x-1.0.pth").write_text("import __editable___x_finder")
    assert startup_files([site.folder], {}) == startup_files([], {})


@pytest.mark.parametrize("editable", [True, False])
def test_only_a_real_editable_install_of_a_plugin_may_import(site: Site, editable: bool) -> None:
    origin = json.dumps({"url": "file:///x", "dir_info": {"editable": editable}})
    files = {"__editable__.sly-1.pth": IMPORT}
    site.add("plugway-sly", PLUGIN, files, direct_url__json=origin)
    assert bool(startup_files([site.folder], {}).refused) is not editable


SEALS = """
from plugway import Plugin
class Seal(Plugin):
    seals_replies = True
class Changes(Plugin):
    def transform_stream(self, stream, exchange): ...
class Reads(Plugin):
    def finished(self, exchange, outcome): ...
"""


def test_what_changes_replies_is_listed_after_what_seals_them(site: Site) -> None:
    points = {name: f"probe_seal:{name.title()}" for name in ("seal", "changes", "reads")}
    site.add("plugway-seal", points, {"probe_seal.py": SEALS})
    right = "plugins:\n  - use: reads\n  - use: seal\n  - use: changes\n"
    assert [p.name for p in load_plugins(parse_config(right))] == ["reads", "seal", "changes"]
    wrong = "plugins:\n  - use: changes\n  - use: seal\n"
    assert [str(problem) for problem in problems_of(wrong)] == [
        "c.yaml:3:5: `plugins[1]`: `seal` must be listed before `changes`, which is at c.yaml:2:5"
        " - move one of the entries"
    ]
