"""For the whole repository: tests that take minutes run only where they are asked for."""

import os

import pytest


def pytest_collection_modifyitems(items):
    if os.environ.get("PLUGWAY_SLOW") == "1":
        return
    skip = pytest.mark.skip(reason="slow; set PLUGWAY_SLOW=1")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
