"""Signed lists: what is signed is approved, and in signed mode nothing else runs a line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from install_wheels import PERMISSIONS, make_environment, make_wheel, sha256
from typer.testing import CliRunner

from plugway import PlugwayError
from plugway_install import _pip, _signatures, _signers, install_app
from plugway_install._environment import Environment
from plugway_install._pip import Pin
from plugway_install._plan import Plan
from plugway_install._signatures import LIST, SignedList, sign, verified
from plugway_install._signers import Signer, known_signers, remember_signers
from plugway_install._wheel import inspect

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the environments are POSIX ones"),
    pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="OpenSSH is not installed"),
]
PIN = Pin("probe-one", "1.0", "a" * 64)


def make_key(folder, name="key", kind="ed25519"):
    path = folder / name
    command = ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(path)]
    subprocess.run(command, check=True)
    return path


def public(key):
    return " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])


@pytest.fixture
def settings(tmp_path, monkeypatch):
    folder = tmp_path / "settings"
    folder.mkdir()
    for module in (_signatures, _signers):
        monkeypatch.setattr(module, "settings", lambda: folder)
    return folder


@pytest.fixture
def key(tmp_path, settings):
    key = make_key(tmp_path)
    (settings / "allowed-signers").write_text(f"alice@example.com {public(key)}\n")
    return key


def test_a_valid_list_names_its_signer_and_exactly_what_is_signed(tmp_path, key):
    sign([PIN], tmp_path / LIST, key)
    found = verified(tmp_path / LIST)
    assert found.signer == "alice@example.com"
    assert found.has(PIN)
    assert not found.has(Pin("probe-one", "1.1", "a" * 64))
    assert not found.has(Pin("probe-one", "1.0", "b" * 64))
    assert not found.has(Pin("probe-two", "1.0", "a" * 64))


def test_an_altered_list_is_not_valid(tmp_path, key):
    sign([PIN], tmp_path / LIST, key)
    text = (tmp_path / LIST).read_text()
    (tmp_path / LIST).write_text(text.replace("1.0", "1.1"))
    with pytest.raises(PlugwayError, match=r"signature of .* is not valid"):
        verified(tmp_path / LIST)
    (tmp_path / f"{LIST}.sig").unlink()
    with pytest.raises(PlugwayError, match="has no signature"):
        verified(tmp_path / LIST)


def test_an_unknown_key_is_not_valid(tmp_path, key):
    sign([PIN], tmp_path / LIST, make_key(tmp_path, "mallory"))
    with pytest.raises(PlugwayError, match="not signed by anyone whose key is valid now"):
        verified(tmp_path / LIST)


@pytest.mark.parametrize(
    "limit", ['valid-before="20200101"', 'valid-after="20990101"', 'namespaces="file"']
)
def test_a_key_is_valid_only_for_its_time_and_purpose(tmp_path, key, settings, limit):
    sign([PIN], tmp_path / LIST, key)
    (settings / "allowed-signers").write_text(f"alice@example.com {limit} {public(key)}\n")
    with pytest.raises(PlugwayError, match=r"not valid|whose key is valid now"):
        verified(tmp_path / LIST)


def test_a_revoked_key_is_not_valid(tmp_path, key, settings):
    sign([PIN], tmp_path / LIST, key)
    (settings / "revoked-signers").write_text(f"{public(key)}\n")
    with pytest.raises(PlugwayError, match=r"not valid: .*revoked"):
        verified(tmp_path / LIST)


def test_a_signature_for_another_purpose_is_not_valid(tmp_path, key, monkeypatch):
    monkeypatch.setattr(_signatures, "_NAMESPACE", "file")
    sign([PIN], tmp_path / LIST, key)
    monkeypatch.undo()
    allowed = tmp_path / "settings" / "allowed-signers"
    monkeypatch.setattr(_signatures, "settings", lambda: allowed.parent)
    with pytest.raises(PlugwayError, match="not valid"):
        verified(tmp_path / LIST)


def test_a_list_that_cannot_be_signed_leaves_the_earlier_one_valid(tmp_path, key):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    sign([PIN], wheels / LIST, key)
    with pytest.raises(PlugwayError, match="cannot sign with"):
        sign([Pin("probe-two", "1.0", "b" * 64)], wheels / LIST, tmp_path / "none")
    assert verified(wheels / LIST).has(PIN)
    assert sorted(path.name for path in wheels.iterdir()) == [LIST, f"{LIST}.sig"]
    sign([Pin("probe-two", "1.0", "b" * 64)], wheels / LIST, key)
    assert not verified(wheels / LIST).has(PIN)
    with pytest.raises(PlugwayError, match=r"cannot write .*: No such file"):
        sign([PIN], tmp_path / "nowhere" / LIST, key)


def test_only_ed25519_keys_count(tmp_path, settings):
    key = make_key(tmp_path, "rsa", "rsa")
    (settings / "allowed-signers").write_text(f"alice@example.com {public(key)}\n")
    sign([PIN], tmp_path / LIST, key)
    with pytest.raises(PlugwayError, match="not valid"):
        verified(tmp_path / LIST)


def test_a_machine_without_openssh_is_named(tmp_path, key, monkeypatch):
    sign([PIN], tmp_path / LIST, key)
    monkeypatch.setattr(_signatures.shutil, "which", lambda *_, **__: None)
    with pytest.raises(PlugwayError, match="`ssh-keygen` is missing"):
        verified(tmp_path / LIST)


MARKED = """from pathlib import Path
(Path(__file__).parents[1] / "ran").touch()
from plugway import Plugin, hookimpl
class Probe(Plugin):
    @hookimpl
    async def finished(self, exchange, outcome): ...
"""


@pytest.fixture
def signed_mode(tmp_path):
    """A gateway in signed mode, and a plugin that leaves a mark when it is imported."""
    gateway, wheels = make_environment(tmp_path / "env"), tmp_path / "wheels"
    files = {"probe_one/__init__.py": MARKED, "probe_one/plugway-permissions.toml": PERMISSIONS}
    path = make_wheel(wheels, files=files)
    assert gateway.run("plugins", "--approve", "plugway-install", "plugway-echo").returncode == 0
    config = gateway.settings / "config.yaml"
    config.write_text("server: {plugins: signed}\nplugins: [{use: echo}, {use: probe-one}]\n")
    config.chmod(0o600)
    return gateway, path, gateway.site / "ran"


def sign_by(gateway, wheels, folder, *names):
    """Sign the wheels as the first of `names`; all of them are allowed signers."""
    keys = {name: make_key(folder, name) for name in names if not (folder / name).exists()}
    with (gateway.settings / "allowed-signers").open("a") as file:
        file.writelines(f"{name}@example.com {public(key)}\n" for name, key in keys.items())
    done = gateway.run("sign", wheels, "--key", folder / names[0])
    assert done.returncode == 0, done.stderr


def test_in_signed_mode_only_what_is_signed_and_unaltered_runs(tmp_path, signed_mode):
    gateway, path, ran = signed_mode
    sign_by(gateway, path.parent, tmp_path, "alice")
    done = gateway.run("install", "probe-one", "--from", path.parent, "--yes")
    assert done.returncode == 0, done.stderr
    assert "probe-one 1.0, signed by alice@example.com" in done.stderr
    assert "approved: probe-one" in done.stderr
    assert not ran.exists(), "installing runs nothing of it"
    done = gateway.run("check")
    assert done.returncode == 0, done.stderr
    assert ran.exists()
    shown = gateway.run("permissions", "probe-one").stdout
    assert shown.startswith("probe-one 1.0, signed by alice@example.com (SHA256:")

    ran.unlink()
    module = gateway.site / "probe_one" / "__init__.py"
    module.write_text(module.read_text() + "\n")
    done = gateway.run("check")
    assert "has changed since it was approved" in done.stderr
    assert not ran.exists()


@pytest.mark.slow
def test_in_signed_mode_nothing_unsigned_is_installed_or_runs(tmp_path, signed_mode):
    gateway, path, ran = signed_mode
    # without signers it can be installed, but does not run before it is approved
    assert gateway.run("install", path, "--yes").returncode == 0
    done = gateway.run("check")
    assert done.returncode == 2
    assert "`probe_one:Probe` is not approved: review it" in done.stderr
    config = gateway.settings / "config.yaml"
    text = config.read_text()
    config.write_text("server: {plugins: signed}\nplugins: [{use: echo}]\n")
    assert gateway.run("remove", "probe-one", "--yes").returncode == 0
    config.write_text(text)

    (gateway.settings / "allowed-signers").write_text(
        f"alice@example.com {public(make_key(tmp_path))}\n"
    )
    done = gateway.run("install", path, "--yes")
    assert "not signed by anyone in" in done.stderr
    assert not gateway.has("probe-one")

    # the mode does not depend on the file of approvals
    (gateway.settings / "approved-plugins.json").unlink()
    assert "`probe-one`" in gateway.run("check").stderr
    assert "the command is not approved" in gateway.run("install", path).stderr
    assert not ran.exists()


@pytest.mark.slow
def test_an_update_by_another_signer_needs_consent_of_its_own(tmp_path, signed_mode):
    gateway, path, _ = signed_mode
    sign_by(gateway, path.parent, tmp_path, "alice", "bob")
    words = ("install", "probe-one", "--from", path.parent, "--yes")
    assert gateway.run(*words).returncode == 0
    make_wheel(path.parent, version="2.0")
    sign_by(gateway, path.parent, tmp_path, "bob")
    done = gateway.run(*words, "--upgrade")
    assert done.returncode == 1
    assert "`probe-one` was signed by alice@example.com (SHA256:" in done.stderr
    assert "; this version is signed by bob@example.com (SHA256:" in done.stderr
    assert "nothing was changed: confirm with `--new-signer`" in done.stderr
    assert "probe-one 1.0, signed by alice" in gateway.run("permissions", "probe-one").stdout
    done = gateway.run(*words, "--upgrade", "--new-signer")
    assert done.returncode == 0, done.stderr
    assert "probe-one 2.0, signed by bob" in gateway.run("permissions", "probe-one").stdout


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (None, "alice", []),
        ("alice", "alice", []),
        ("alice", "bob", ["`probe-one` was signed by alice (SHA256:1); this version is signed by"]),
        ("alice", None, ["`probe-one` was signed by alice (SHA256:1); this version is not signed"]),
        (None, None, []),
    ],
)
def test_a_change_of_the_signer_is_a_sentence(tmp_path, settings, before, now, expected):
    if before:
        remember_signers({"probe-one": Signer(before, "SHA256:1"), "other": Signer("x", "y")})
    path = make_wheel(tmp_path)
    pin = Pin("probe-one", "1.0", sha256(path))
    pins = frozenset({(pin.name, pin.version, pin.sha256)}) if now else frozenset()
    environment = Environment()
    environment.__dict__["installed"] = {"probe-one": None}
    plan = Plan(
        (inspect(path, pin),), SignedList(now or "", "SHA256:2", pins), tmp_path, environment
    )
    found = plan.other_signers()
    assert [text[: len(start)] for text, start in zip(found, expected, strict=True)] == expected


def test_who_signed_is_forgotten_with_the_package(settings):
    alice, bob = Signer("alice", "SHA256:1"), Signer("bob", "SHA256:2")
    remember_signers({"one": alice, "two": alice})
    remember_signers({"two": bob}, ["one", "two"])
    assert known_signers() == {"two": bob}
    (settings / "package-signers.json").write_text("{")
    with pytest.raises(PlugwayError, match=r"cannot read .*package-signers.json"):
        known_signers()


def test_a_source_folder_is_not_built_where_signatures_are_required(
    settings, tmp_path, monkeypatch
):
    (settings / "allowed-signers").write_text("alice@example.com ssh-ed25519 AAAA\n")
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "pyproject.toml").write_text("")
    monkeypatch.setattr(_pip, "pip", lambda *_, **__: pytest.fail("it was built"))
    done = CliRunner().invoke(install_app, [str(folder), "--yes"])
    assert "is a source folder, which nobody can sign" in str(done.exception)


def test_ssh_keygen_of_the_environment_is_not_used(tmp_path, key, monkeypatch):
    """A package could have brought it."""
    sign([PIN], tmp_path / LIST, key)
    own = tmp_path / "bin"
    own.mkdir()
    (own / "ssh-keygen").write_text("#!/bin/sh\necho evil@example.com\n")
    (own / "ssh-keygen").chmod(0o755)
    monkeypatch.setattr(_signatures.sysconfig, "get_path", lambda _: str(own))
    monkeypatch.setenv("PATH", str(own), prepend=os.pathsep)
    assert verified(tmp_path / LIST).signer == "alice@example.com"


def test_the_author_signs_only_sound_wheels(tmp_path):
    gateway, wheels = make_environment(tmp_path / "env"), tmp_path / "wheels"
    make_wheel(wheels, files={"evil.pth": "import os"})
    done = gateway.run("sign", wheels, "--key", make_key(tmp_path))
    assert "would run whenever Python starts" in done.stderr
    assert not (wheels / LIST).exists()
    assert sha256(next(wheels.glob("*.whl")))
