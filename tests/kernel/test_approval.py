"""Approved plugins: nothing else is loaded once something was approved."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import EntryPoint, distribution

import pytest

from plugway import ConfigError
from plugway.cli.config import all_problems, installed_stack
from plugway.cli.plugins import installed_command
from plugway.config.approval import approve
from plugway.config.config import default_config_path, parse_config
from plugway.types.errors import PluginError
from plugway_packages import Approvals, ApprovalsError, approvals_path, fingerprint
from tests.kernel.loading import load_plugins


def refusal(name, path):
    return Approvals(path).refusal(name)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setattr(sys, "pycache_prefix", None)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution `plugway-mine` of one module, as a wheel installs it."""
    folder = tmp_path / "site"
    info = folder / "plugway_mine-1.dist-info"
    info.mkdir(parents=True)
    (folder / "plugway_mine.py").write_text("first = 1\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugway-mine\nVersion: 1\n")
    (info / "RECORD").write_text(
        "plugway_mine.py,sha256=zVlSdtVqTSbQtqy6nT8zLAoLs2CqRyr5Nd2pyoH5jqU,10\n"
        "plugway_mine-1.dist-info/RECORD,,\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_nothing_is_refused_before_anything_was_approved(installed, tmp_path):
    assert refusal("plugway-mine", tmp_path / "none.json") == ""


def test_what_was_approved_may_be_loaded_and_nothing_else(installed, tmp_path):
    path = tmp_path / "deep" / "approved.json"
    approve(["plugway-mine"], path)
    assert refusal("plugway-mine", path) == ""
    assert refusal("plugway-other", path) == "is not approved"


def test_old_drafts_of_the_approvals_are_removed(installed, tmp_path):
    left = tmp_path / ".approved.json-17"
    left.touch()
    os.utime(left, (0, 0))
    approve(["plugway-mine"], tmp_path / "approved.json")
    assert not left.exists()


def test_a_file_that_was_edited_is_noticed(installed, tmp_path):
    path = tmp_path / "approved.json"
    approve(["plugway-mine"], path)
    (installed / "plugway_mine.py").write_text("first = 2\n")
    assert refusal("plugway-mine", path) == "has changed since it was approved"
    approve(["plugway-mine"], path)
    assert refusal("plugway-mine", path) == ""


def test_another_version_is_noticed(installed, tmp_path):
    path = tmp_path / "approved.json"
    approve(["plugway-mine"], path)
    record = installed / "plugway_mine-1.dist-info" / "RECORD"
    record.write_text(record.read_text() + "plugway_mine_more.py,,\n")
    assert refusal("plugway-mine", path) == "has changed since it was approved"


def test_a_source_of_an_editable_package_that_was_edited_is_noticed(installed, tmp_path):
    source = tmp_path / "my plugin" / "src" / "mine" / "code.py"
    source.parent.mkdir(parents=True)
    source.write_text("first = 1\n")
    origin = {"url": (tmp_path / "my plugin").as_uri(), "dir_info": {"editable": True}}
    (installed / "plugway_mine-1.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    path = tmp_path / "approved.json"
    approve(["plugway-mine"], path)
    assert refusal("plugway-mine", path) == ""
    source.write_text("first = 2\n")
    assert refusal("plugway-mine", path) == "has changed since it was approved"


def test_approving_one_keeps_the_others(installed, tmp_path):
    path = tmp_path / "approved.json"
    path.write_text(json.dumps({"plugway-echo": "x"}))
    assert set(approve(["plugway-mine"], path)) == {"plugway-echo", "plugway-mine"}


def test_a_broken_file_of_approvals_lets_nothing_through(installed, tmp_path):
    path = tmp_path / "approved.json"
    path.write_text("[]")
    with pytest.raises(ApprovalsError, match="is invalid"):
        refusal("plugway-mine", path)


def test_the_file_is_read_once_for_all_plugins_of_a_configuration(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = approvals_path()
    path.parent.mkdir(parents=True)
    approve(["plugway-echo", "plugway-router"], path)
    config = parse_config("plugins: [{use: router}, {use: echo}, {use: echo, name: other}]")
    read, opened = type(path).read_text, []

    def counted(self, *args, **kwargs):
        opened.append(self)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(type(path), "read_text", counted)
    assert len(load_plugins(config)) == 3
    assert opened.count(path) == 1
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"plugway-echo.* is not approved"):
        load_plugins(config)


def test_a_package_that_is_gone_has_no_fingerprint():
    assert fingerprint("plugway-that-is-not-there") == ""


SIGNED = "server: {plugins: signed%s}\nplugins: [{use: trap}]"
TRAP = """from pathlib import Path
Path({path!r}).touch()
from plugway import Plugin, hookimpl
class Trap(Plugin):
    @hookimpl
    async def finished(self, exchange, outcome): ...
"""


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A plugin that leaves a mark when it is imported: returns the mark and the module."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    site = tmp_path / "trap-site"
    name = f"probe_trap_{abs(hash(str(tmp_path)))}"
    module = site / name / "__init__.py"
    info = site / "some_trap-1.dist-info"
    info.mkdir(parents=True)
    module.parent.mkdir()
    module.write_text(TRAP.format(path=str(tmp_path / "mark")))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-trap\nVersion: 1\n")
    points = f"trap = {name}:Trap\n"
    (info / "entry_points.txt").write_text(f"[plugway]\n{points}\n[plugway.commands]\n{points}")
    (info / "RECORD").write_text(f"{name}/__init__.py,sha256=x,1\n")
    monkeypatch.syspath_prepend(str(site))
    return tmp_path / "mark", module


@pytest.mark.parametrize("more", ["", ", port: wrong", ", unknown: 1"])
def test_in_signed_mode_nothing_runs_before_it_is_approved(trap, more):
    mark, _ = trap
    with pytest.raises(ConfigError) as caught:
        problems_of_all(SIGNED % more)
    assert "is not approved: review it, then run `plugway plugins --approve" in str(caught.value)
    assert not mark.exists()


def problems_of_all(text):
    try:
        load_plugins(parse_config(text))
    except ConfigError as error:
        raise all_problems(error) from None


def test_in_signed_mode_what_is_approved_runs_until_it_is_altered(trap):
    mark, module = trap
    approve(["some-trap"])
    assert load_plugins(parse_config(SIGNED % ""))
    assert mark.exists()
    mark.unlink()
    (module.parent / "_plugin.abi3.so").write_text("beside")
    sys.modules.pop(module.parent.name)
    with pytest.raises(ConfigError, match="has changed since it was approved"):
        load_plugins(parse_config(SIGNED % ""))
    assert not mark.exists()


def test_in_signed_mode_a_command_is_not_imported_before_it_is_approved(trap):
    mark, _ = trap
    path = default_config_path()
    path.parent.mkdir(parents=True)
    path.write_text(SIGNED % "")
    with pytest.raises(PluginError, match="the command is not approved"):
        installed_command("trap")
    assert not mark.exists()
    path.write_text("plugins: [")
    with pytest.raises(PluginError, match=r"not a `typer.Typer`"):
        installed_command("trap")


def test_in_signed_mode_a_stack_is_not_imported_before_it_is_approved(trap, monkeypatch):
    mark, module = trap
    path = default_config_path()
    path.parent.mkdir(parents=True)
    path.write_text(SIGNED % "")
    (point,) = (p for p in distribution("some-trap").entry_points if p.group == "plugway")
    stack = EntryPoint("stack", module.parent.name, "plugway.stack")._for(point.dist)
    monkeypatch.setattr("plugway.cli.config.entry_points", lambda **_: [stack])
    with pytest.raises(PluginError, match="the ready stack is not approved"):
        installed_stack()
    assert not mark.exists()
    approve(["some-trap"])
    with pytest.raises(PluginError, match="cannot read its ready stack"):
        installed_stack()
    assert mark.exists()


def test_an_undeclared_hook_or_secret_is_refused(trap, monkeypatch):
    _, module = trap
    text = "plugins: [{use: trap, options: {key: {$env: KEY_OF_TRAP}}}]"
    (module.parent / "plugway-permissions.toml").write_text('hooks = ["answer"]')
    with pytest.raises(ConfigError, match="permissions do not declare the hook `finished`"):
        load_plugins(parse_config(text))
    (module.parent / "plugway-permissions.toml").write_text('hooks = ["finished"]')
    with pytest.raises(ConfigError, match=r"options.key`: `trap` does not declare") as caught:
        load_plugins(parse_config(text))
    assert "KEY_OF_TRAP" not in str(caught.value), "it was not read"


def test_invalid_permissions_are_refused_before_the_plugin_is_imported(trap):
    mark, module = trap
    (module.parent / "plugway-permissions.toml").write_text("hoks = []")
    with pytest.raises(ConfigError, match=r"has invalid permissions .*unknown key `hoks`"):
        load_plugins(parse_config("plugins: [{use: trap}]"))
    assert not mark.exists()
