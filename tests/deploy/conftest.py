"""The built image, and what is mounted into a container of it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import pytest

from tests.deploy import chroot
from tests.deploy.chroot import Container
from tests.deploy.running import DOCKERFILE, ROOT, Folders


@pytest.fixture(scope="session")
def image():
    """The built image; its base is made from Debian's packages."""
    chroot.needed()
    folder = Path(tempfile.mkdtemp(prefix="plugway-image-"))
    try:
        (folder / "stages").mkdir()
        base = chroot.base(folder / "base")
        yield chroot.build(DOCKERFILE, ROOT, base, folder / "stages")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def network(image):
    """A network of its own, with a loopback device, where port 8484 is free."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        assert libc.unshare(0x40000000) == 0, os.strerror(ctypes.get_errno())
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert libc.setns(before.fileno(), 0) == 0


@pytest.fixture
def folders(network):
    """They lie outside pytest's own folder, which is closed to the image's user."""
    folder = Path(tempfile.mkdtemp(prefix="plugway-volumes-"))
    folder.chmod(0o755)
    yield Folders(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def container(image, folders):
    return partial(Container, image, folders.binds)
