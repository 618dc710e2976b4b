"""What tests need: a free port, and libraries that only the slow suite installs."""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from plugway_http.server import BindError, bind
from tests.slow import SLOW

CONSTRAINTS = Path(__file__).resolve().parents[3] / "constraints.txt"


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory):
    """The module `prometheus_client`."""
    return library("prometheus_client", "prometheus-client", tmp_path_factory)


@pytest.fixture(scope="session")
def collector_messages(tmp_path_factory):
    """The module with `ExportTraceServiceRequest`, and that with the one for metrics."""
    library("opentelemetry.proto", "opentelemetry-proto", tmp_path_factory)
    found = "opentelemetry.proto.collector.{0}.v1.{0}_service_pb2"
    return import_module(found.format("trace")), import_module(found.format("metrics"))


@pytest.fixture
def port():
    """A free port that no client's connection gets in the meantime."""
    for _ in range(100):
        number = random.randrange(20_000, 32_000)
        with suppress(BindError), bind("127.0.0.1", number):
            return number
    raise AssertionError("no free port was found")


def library(module, package, folders):
    """The module; installed for this run in the slow suite, else the test is skipped."""
    if not is_there(module):
        if not SLOW:
            pytest.skip(f"`{package}` is not installed; the slow suite installs it")
        folder = folders.mktemp(package)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
        subprocess.run([*pip, "--constraint", str(CONSTRAINTS), package], check=True)
        sys.path.append(str(folder))
    return import_module(module)


def is_there(module):
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
