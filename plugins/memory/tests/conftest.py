"""Tests of the plugin run on asyncio, with folders of their own."""

import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from machine import Machine  # noqa: E402


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def own_folders(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:  # paths of sockets have to be short
        for name in ("DATA", "CACHE", "STATE", "CONFIG"):
            monkeypatch.setenv(f"XDG_{name}_HOME", folder)
        yield


@pytest.fixture
def machine():
    return Machine()
