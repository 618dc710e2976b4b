"""Apple's own Python sources, fetched by pip at their version, over a stand-in for their library.

The sources are used as they are. As in Apple's `build_backend.py`, `ctypesgen` makes the bindings from
the public header; the library is `fake_foundation_models.c` instead of the Swift package, which only
Xcode builds. Nothing of Apple's is kept in the repository.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

VERSION = "0.2.1"
HERE = Path(__file__).parent
CACHE = Path(
    os.environ.get("PLUGWAY_BUILD_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plugway-build"
)
PLAIN = ("-D_Nonnull=", "-D_Nullable=")
"""Words of clang in the header."""


def run(*command, needed=True, **env):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env={**os.environ, **env}
    )
    if done.returncode and needed:
        pytest.skip(f"{Path(str(command[0])).name} failed: {done.stderr.strip()[-300:]}")
    return done


def sources() -> Path:
    """The unpacked source distribution.

    Without Xcode pip stops after unpacking it; `--no-clean` keeps what it unpacked.
    """
    folder = CACHE / f"apple-fm-sdk-{VERSION}"
    if not (folder / "src/apple_fm_sdk/session.py").is_file():
        work = CACHE / "apple-fm-sdk-work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        get = ("-m", "pip", "download", "--no-clean", "--no-deps", "--no-build-isolation")
        wanted = ("--no-binary", "apple-fm-sdk", "--dest", work, f"apple-fm-sdk=={VERSION}")
        done = run(sys.executable, *get, *wanted, needed=False, TMPDIR=str(work))
        for archive in work.glob("*.tar.gz"):
            with tarfile.open(archive) as packed:
                packed.extractall(work / "pip-unpacked", filter="data")
        found = next(iter(work.glob("pip-*/apple*fm*sdk*/src")), None)
        if found is None:
            pytest.skip(f"Apple's sources cannot be had here: {done.stderr.strip()[-300:]}")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(found.parent, folder)
        shutil.rmtree(work, ignore_errors=True)
    return folder


def ctypesgen() -> Path:
    """The command that Apple's build uses."""
    folder = CACHE / "ctypesgen"
    if not (folder / "bin/ctypesgen").is_file():
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin/pip", "install", "--quiet", "ctypesgen==1.1.1", "setuptools")
    return folder / "bin/ctypesgen"


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A folder with the package `apple_fm_sdk`: Apple's files, bindings and the stand-in."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    found = sources()
    folder = tmp_path_factory.mktemp("apple")
    package = folder / "apple_fm_sdk"
    shutil.copytree(found / "src/apple_fm_sdk", package)
    include = found / "foundation-models-c/Sources/FoundationModelsCBindings/include"
    library = package / "lib/libFoundationModels.so"
    library.parent.mkdir()
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-attributes", "-shared", "-fPIC")
    source = HERE / "fake_foundation_models.c"
    run("gcc", *flags, "-pthread", *PLAIN, "-I", include, source, "-o", library)
    link = ("-L", library.parent, "-l", "FoundationModels")
    into = ("-o", package / "_ctypes_bindings.py")
    run(
        ctypesgen(),
        "-D",
        "_Nonnull=",
        "-D",
        "_Nullable=",
        include / "FoundationModels.h",
        *link,
        *into,
    )
    return folder


class Library:
    """What the stand-in counted."""

    NAMES = ("cancelled", "broken_streams", "released_before_cancel", "live_tools", "waiting")

    def __init__(self, folder: Path) -> None:
        self._library = ctypes.CDLL(str(folder / "apple_fm_sdk/lib/libFoundationModels.so"))

    def __getattr__(self, name):
        return self._library.fake_counter(self.NAMES.index(name))
