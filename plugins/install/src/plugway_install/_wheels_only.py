"""Runs pip so that it starts no program, and so runs no code of a package.

`--only-binary` is not enough: pip builds or clones a dependency that is given by its place
(`name @ URL`) without asking. With `--no-index`, it connects to nothing either. This file is run by
its path, and imports nothing of Plugway.
"""

import runpy
import sys
from pathlib import PurePath
from typing import Final

_STARTS: Final = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.startfile"}
"""The events of Python before a program is started."""
_CONNECTS: Final = {"socket.connect", "socket.getaddrinfo"}


def _refuse(event: str, args: tuple[object, ...]) -> None:
    if event in _STARTS and not (args and PurePath(str(args[0])).stem == "keyring"):
        # as if the program was missing: pip can do without `rustc` and the like
        raise OSError(
            "only wheels are installed, and this would run code of a dependency, which is given by "
            "its place; install that one with pip first, if you trust it"
        )
    if event in _CONNECTS and "--no-index" in sys.argv:
        raise OSError("only wheels in the folder are installed, and a dependency is elsewhere")


if __name__ == "__main__":
    sys.addaudithook(_refuse)
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
