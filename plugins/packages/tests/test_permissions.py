"""The permissions that a package declares, and the hash of its files."""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import EntryPoint

import pytest

from plugway import Plugin, hookimpl
from plugway.plugins.hookspecs import hook_infos
from plugway_packages import (
    FILE,
    Permissions,
    PermissionsError,
    fingerprint,
    parse_permissions,
    permissions,
)
from plugway_packages._permissions import HOOKS


def is_reference(node):
    return isinstance(node, dict) and "$env" in node


class Both(Plugin):
    @hookimpl
    async def finished(self, exchange, outcome): ...

    @hookimpl(specname="transform_request")
    async def innocent(self, request, exchange): ...


def test_every_hook_has_words_that_a_person_understands():
    assert set(HOOKS) == set(hook_infos())


def test_a_hook_under_another_name_is_found_too():
    assert Permissions(hooks=("finished",)).undeclared_hooks(Both, "plugway_impl") == [
        "transform_request"
    ]
    assert not Permissions(hooks=tuple(HOOKS)).undeclared_hooks(Both, "plugway_impl")


@pytest.mark.parametrize(
    ("declared", "undeclared"),
    [
        ((), [("key",), ("servers", 0, "token"), ("servers", 1, "more", "token")]),
        (("key",), [("servers", 0, "token"), ("servers", 1, "more", "token")]),
        (("*",), [("servers", 0, "token"), ("servers", 1, "more", "token")]),
        (("key", "servers.*.token"), [("servers", 1, "more", "token")]),
        (("key", "servers.*.token", "servers.*.*.token"), []),
    ],
)
def test_secrets_are_declared_by_the_place_of_their_option(declared, undeclared):
    options = {
        "key": {"$env": "A"},
        "plain": "text",
        "servers": [{"token": {"$env": "B"}}, {"more": {"token": {"$env": "C"}}}],
    }
    assert Permissions(secrets=declared).undeclared_secrets(options, is_reference) == undeclared


def test_what_is_declared_is_said_in_words_and_what_is_too_wide_stands_out():
    found = parse_permissions(
        b'hooks = ["finished"]\nsecrets = ["api_key"]\nhosts = ["*", "{base_url}", "a.example"]\n'
        b'files = ["~", "~/.x"]\nprocesses = ["git", "*"]\n'
    )
    assert found.words() == [
        "is notified of the end of each request (hook `finished`)",
        "gets the secret in its option `api_key`",
        "connects to ANY host",
        "connects to what its option `base_url` names",
        "connects to `a.example`",
        "reads and writes ALL your files",
        "reads and writes `~/.x`",
        "starts `git`",
        "starts ANY program",
    ]
    assert parse_permissions(b"").words() == ["uses nothing"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('hook = ["answer"]', "unknown key `hook`; the keys are hooks, secrets"),
        ('hooks = ["aswer"]', "there is no hook `aswer`"),
        ('hooks = "answer"', "`hooks` should be a list of texts"),
        ("hooks = [1]", "`hooks` should be a list of texts"),
        ('secrets = ["a\\u001b[2K"]', "`secrets` should be a list of texts"),
        ('"a\\u001b[2K" = 1', r"unknown key `a\x1b[2K`"),
        (f'processes = ["{"x " * 1000}"]', "texts of 1 to 200 printable characters"),
        ('hosts = ["https://a.example/x"]', "is not a host"),
        ('files = ["../x"]', "should be an absolute path"),
        ("hooks = ", "Invalid value"),
        ("#" * 70_000, "larger than 64 KiB"),
    ],
)
def test_wrong_permissions_are_refused_with_the_place(text, reason):
    with pytest.raises(PermissionsError, match=FILE) as caught:
        parse_permissions(text.encode())
    assert reason in str(caught.value)


def test_permissions_are_found_without_importing_the_package(tmp_path, monkeypatch):
    package = tmp_path / "probe_declared"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    point = EntryPoint("x", "probe_declared.deep:X", "plugway")
    assert permissions(point) is None
    (package / FILE).write_text('hooks = ["answer"]')
    assert permissions(point) == Permissions(hooks=("answer",))
    assert "probe_declared" not in sys.modules
    assert permissions(EntryPoint("x", "probe_absent:X", "plugway")) is None


@pytest.fixture
def package(tmp_path, monkeypatch):
    info = tmp_path / "probe_files-1.dist-info"
    info.mkdir()
    folder = tmp_path / "probe_files"
    folder.mkdir()
    (folder / "code.py").write_text("first = 1\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: probe-files\nVersion: 1\n")
    (info / "RECORD").write_text("probe_files/code.py,sha256=x,10\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return folder


@pytest.mark.parametrize("name", ["code.abi3.so", "code.pyc", "code/__init__.py"])
def test_a_file_that_would_be_imported_instead_changes_the_fingerprint(package, name):
    before = fingerprint("probe-files")
    path = package / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("evil")
    assert fingerprint("probe-files") != before


def test_caches_of_python_do_not_change_the_fingerprint(package):
    before = fingerprint("probe-files")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "code.cpython-311.pyc").write_bytes(b"x")
    (package.parent / "another.py").write_text("of another package")
    assert fingerprint("probe-files") == before


def test_broken_metadata_of_an_editable_package_is_not_trusted(package):
    origin = package.parent / "probe_files-1.dist-info" / "direct_url.json"
    origin.write_text(json.dumps({"url": "https://a.example/x", "dir_info": {"editable": True}}))
    assert fingerprint("probe-files")
