"""Nothing here needs a POSIX system to be imported.

What is called later is checked by `make check`: pyright knows what Python lacks on Windows.
"""

import subprocess
import sys

from tests.like_windows import MODULES, ROOT, SOURCES

IMPORT = """
import importlib, sys, traceback
from tests.like_windows import hide
hide()
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException:
        print(name, traceback.format_exc(limit=-2))
"""


def run(code, *words):
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_is_imported_without_what_windows_lacks():
    names = {
        ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        for folder in SOURCES
        for path in folder.rglob("*.py")
    }
    assert len(names) > 400
    assert run(IMPORT, *sorted(names)) == ""


def test_the_check_sees_each_module_that_is_missing():
    assert run(IMPORT, *MODULES).count("ModuleNotFoundError") == len(MODULES)
