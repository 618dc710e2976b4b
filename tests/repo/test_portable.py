"""Nothing here needs a POSIX system to be imported.

What is called later is checked by `make check`: pyright knows what Python lacks on Windows.
"""

import json
import subprocess
import sys
from functools import cache

from tests.like_windows import MODULES, ROOT, SOURCES

IMPORT = """
import importlib, json, sys, traceback
from tests.like_windows import hide
hide()
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except BaseException:
        print(json.dumps([name, traceback.format_exc(limit=-2)]))
"""


@cache
def not_imported():
    """The modules of the sources and of `MODULES` that cannot be imported, and the reasons."""
    names = {
        ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        for folder in SOURCES
        for path in folder.rglob("*.py")
    }
    assert len(names) > 400
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, *sorted(names), *MODULES],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_every_module_is_imported_without_what_windows_lacks():
    found = not_imported()
    assert {name: found[name] for name in found if name not in MODULES} == {}


def test_the_check_sees_each_module_that_is_missing():
    found = not_imported()
    assert all("ModuleNotFoundError" in found[name] for name in MODULES)
