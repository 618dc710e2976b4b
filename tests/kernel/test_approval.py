"""Approved plugins: nothing else is loaded once something was approved."""

from __future__ import annotations

import json
import os

import pytest

from plugway import ConfigError
from plugway.config.approval import Approvals, approvals_path, approve, fingerprint
from plugway.config.config import parse_config
from tests.kernel.loading import load_plugins


def refusal(name, path):
    return Approvals(path).refusal(name)


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
    with pytest.raises(ConfigError, match="broken"):
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
