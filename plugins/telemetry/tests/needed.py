"""Libraries that tests need and `make` does not install: the slow suite installs them."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

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
