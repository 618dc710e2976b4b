"""Clients as npm and pip install them, each once and in its own folder of the build cache."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zlib import crc32

import pytest


def installed(packages: tuple[str, ...]) -> Path:
    """The folder of the packages' commands; skips the test if they are not available."""
    path, problem = _looked_for(packages)
    if problem:
        pytest.skip(f"{packages[0]} cannot be installed here: {problem[-300:]}")
    return Path(path)


@functools.cache
def _looked_for(packages: tuple[str, ...]) -> tuple[str, str]:
    """The folder, or the problem; cached for the whole test run, even if it fails."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plugway-build"
    cache = Path(os.environ.get("PLUGWAY_BUILD_CACHE") or default)
    pip = "==" in packages[0]
    name = re.sub(r"\[.*?\]", "", packages[0]).replace("==", "-").lstrip("@")
    name = re.sub("[@/]", "-", name)
    if len(packages) > 1 or "[" in packages[0]:
        name += f"-{crc32(' '.join(packages).encode()):08x}"
    home = cache / "clients" / name
    commands = home / ("bin" if pip else "node_modules/.bin")
    if not (home / ".installed").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        install = _pip if pip else _npm
        if problem := install(home, packages):
            return "", problem
        (home / ".installed").touch()
    return str(commands), ""


def _npm(home: Path, packages: tuple[str, ...]) -> str:
    quiet = ["--silent", "--no-audit", "--no-fund", "--fetch-retries=0"]
    return _done(["npm", "install", *quiet, "--prefix", str(home), *packages])


def _pip(home: Path, packages: tuple[str, ...]) -> str:
    """Install in place, because a virtual environment cannot be moved."""
    made = _done([sys.executable, "-m", "venv", str(home)])
    quiet = ["--quiet", "--disable-pip-version-check", "--retries=0"]
    return made or _done([str(home / "bin/python"), "-m", "pip", "install", *quiet, *packages])


def _done(words: list[str]) -> str:
    """An empty string, or the output of the command if it failed."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr + done.stdout or f"status {done.returncode}") if done.returncode else ""
