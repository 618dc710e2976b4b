"""What tests in a browser need, installed into folders of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"


@pytest.fixture(scope="session")
def playwright(tmp_path_factory):
    """Playwright's Python package, without its own browsers."""
    try:
        import playwright.async_api as found
    except ImportError:
        folder = str(tmp_path_factory.mktemp("playwright"))
        words = [sys.executable, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "-t", folder]
        subprocess.run([*words, "playwright"], check=True, timeout=240)
        sys.path.append(folder)
        import playwright.async_api as found
    return found


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """The script of axe-core, which checks pages for accessibility."""
    folder = tmp_path_factory.mktemp("axe")
    words = ["npm", "install", "--silent", "--no-audit", "--prefix", str(folder), "axe-core"]
    subprocess.run(words, check=True, timeout=120)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def place(request, tmp_path):
    """Where a history is: options of `store` for an empty database; None for a file of its own."""
    if request.param == "file":
        return None
    if request.param == "sqlite":
        return {"url": str(tmp_path / "store.db")}
    return request.getfixturevalue("postgres").database()
