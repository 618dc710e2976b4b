"""What a container of the image says if it is started wrongly, and what Kubernetes mounts rightly."""

from __future__ import annotations

import os
import re
from functools import partial

import pytest

from tests.deploy.chroot import Container
from tests.deploy.running import CONFIG, STATE, TOKEN, UID, ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_a_missing_configuration_is_named(image, folders):
    binds = {folders.state: STATE}
    (image.root / CONFIG.lstrip("/")).unlink(missing_ok=True)
    code, said = ended(partial(Container, image, binds))
    assert code == 2
    assert f"{CONFIG}: there is no such file" in said


def test_a_missing_secret_is_named(folders, container):
    folders.writes("  - use: llama-server\n")
    (folders.secrets / "gateway_token").unlink()
    code, said = ended(container)
    assert code == 2
    assert "`server.token`: there is no file `/run/secrets/gateway_token`" in said


@pytest.mark.parametrize(
    ("owner", "mode", "reason"),
    [
        ((1000, 1000), 0o400, "cannot read `/run/secrets/gateway_token`: Permission denied"),
        ((1000, 1000), 0o444, "is accessible to every user (mode 0444) - run `chmod 600"),
        ((1000, UID), 0o440, "belongs to another user (uid 1000)"),
    ],
)
def test_a_secret_of_another_user_is_refused(folders, container, owner, mode, reason):
    folders.writes("  - use: llama-server\n")
    path = folders.secrets / "gateway_token"
    os.chown(path, *owner)
    path.chmod(mode)
    code, said = ended(container)
    assert code == 2
    assert reason in said


def test_a_configuration_of_another_user_is_refused_with_the_command_that_helps(folders, container):
    folders.writes("  - use: llama-server\n")
    os.chown(folders.config, 1000, 1000)
    code, said = ended(container)
    assert code == 2
    assert f"run `sudo chown {UID} {CONFIG}`" in said


@pytest.mark.parametrize("case", ["read-only", "of root", "wrong user"])
def test_a_volume_that_cannot_be_written_is_named(folders, container, case):
    folders.writes("  - use: store\n  - use: accounts\n  - use: llama-server\n")
    options = {"writable": False} if case == "read-only" else {}
    if case == "of root":
        os.chown(folders.state, 0, 0)
    if case == "wrong user":
        options["user"] = "20002:20002"
        for path in folders.secrets.iterdir():
            os.chown(path, 20002, 20002)
        folders.state.chmod(0o700)
    code, said = ended(container, **options)
    assert code in (1, 3), said
    assert f"{STATE}/." in said
    assert re.search("(?i)read-only file system|permission denied|not writable", said), said


def test_files_as_kubernetes_mounts_them_are_read(image, folders):
    """A ConfigMap and a Secret: links over `..data`, files of root and the pod's `fsGroup`."""
    volumes = {"config": (["config.yaml"], 0o644), "secrets": (["gateway_token"], 0o440)}
    folders.writes("  - use: llama-server\n")
    text = folders.config.read_text().replace("/run/secrets", "/run/secrets/plugway")
    for volume, (names, mode) in volumes.items():
        now = folders.state.parent / volume / "..2026"
        now.mkdir(parents=True, exist_ok=True)
        (now.parent / "..data").symlink_to(now.name)
        for name in names:
            (now.parent / name).unlink(missing_ok=True)
            (now.parent / name).symlink_to(f"..data/{name}")
            (now / name).write_text(text if name == "config.yaml" else TOKEN)
            os.chown(now / name, 0, UID)
            (now / name).chmod(mode)
    folder = folders.state.parent
    binds = {folder / "config": "/etc/plugway", folder / "secrets": "/run/secrets/plugway"}
    code, said = ended(partial(Container, image, {**binds, folders.state: STATE}), "check")
    assert code == 0, said
