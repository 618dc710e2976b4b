"""Signed lists: what is signed is approved, and in signed mode nothing else runs a line."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from install_wheels import PERMISSIONS, make_environment, make_wheel, sha256

from plugway import PlugwayError
from plugway_install import _signatures
from plugway_install._pip import Pin
from plugway_install._signatures import LIST, sign, verified

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
    monkeypatch.setattr(_signatures, "settings", lambda: folder)
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


def test_in_signed_mode_only_what_is_signed_and_unaltered_runs(tmp_path):
    gateway, wheels = make_environment(tmp_path / "env"), tmp_path / "wheels"
    files = {"probe_one/__init__.py": MARKED, "probe_one/plugway-permissions.toml": PERMISSIONS}
    path = make_wheel(wheels, files=files)
    ran = gateway.site / "ran"
    config = gateway.settings / "config.yaml"
    assert gateway.run("plugins", "--approve", "plugway-install", "plugway-echo").returncode == 0
    config.write_text("server: {plugins: signed}\nplugins: [{use: echo}, {use: probe-one}]\n")
    config.chmod(0o600)

    # without signers it can be installed, but does not run before it is approved
    assert gateway.run("install", path, "--yes").returncode == 0
    done = gateway.run("check")
    assert done.returncode == 2
    assert "`probe_one:Probe` is not approved: review it" in done.stderr
    config.write_text("server: {plugins: signed}\nplugins: [{use: echo}]\n")
    assert gateway.run("remove", "probe-one", "--yes").returncode == 0
    config.write_text("server: {plugins: signed}\nplugins: [{use: echo}, {use: probe-one}]\n")

    key = make_key(tmp_path)
    (gateway.settings / "allowed-signers").write_text(f"alice@example.com {public(key)}\n")
    done = gateway.run("install", path, "--yes")
    assert "not signed by anyone in" in done.stderr
    assert not gateway.has("probe-one")

    done = gateway.run("sign", wheels, "--key", key)
    assert done.returncode == 0, done.stderr
    done = gateway.run("install", "probe-one", "--from", wheels, "--yes")
    assert done.returncode == 0, done.stderr
    assert "probe-one 1.0, signed by alice@example.com" in done.stderr
    assert "approved: probe-one" in done.stderr
    assert not ran.exists(), "installing runs nothing of it"
    done = gateway.run("check")
    assert done.returncode == 0, done.stderr
    assert ran.exists()

    ran.unlink()
    module = gateway.site / "probe_one" / "__init__.py"
    module.write_text(module.read_text() + "\n")
    done = gateway.run("check")
    assert "has changed since it was approved" in done.stderr
    assert not ran.exists()

    # the mode does not depend on the file of approvals
    (gateway.settings / "approved-plugins.json").unlink()
    assert "`probe_one:Probe` is not approved" in gateway.run("check").stderr
    assert "the command is not approved" in gateway.run("install", path).stderr
    assert not ran.exists()


def test_the_author_signs_only_sound_wheels(tmp_path):
    gateway, wheels = make_environment(tmp_path / "env"), tmp_path / "wheels"
    make_wheel(wheels, files={"evil.pth": "import os"})
    done = gateway.run("sign", wheels, "--key", make_key(tmp_path))
    assert "would run whenever Python starts" in done.stderr
    assert not (wheels / LIST).exists()
    assert sha256(next(wheels.glob("*.whl")))
