"""What a worker's process begins with: no network, then the worker itself.

Run as a file and importing nothing else first: a process that has threads already, as numpy starts
them, cannot change its namespaces.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

_NEW_USER: Final = 0x1000_0000
_NEW_NET: Final = 0x4000_0000
_CAPABILITY_VERSION: Final = 0x2008_0522


def cut_network() -> str:
    """Move into a network namespace of its own, which has no way out, not even to loopback.

    Returns why that is not possible here, else nothing.
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no network namespaces"
    pid = os.fork()
    if pid == 0:
        # A trial: half of it cannot be taken back.
        code = 1
        try:
            code = _attempt()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code == 0:
        code = _attempt()
    return "" if code == 0 else f"the kernel refuses ({os.strerror(abs(code))})"


def _attempt() -> int:
    """0, or the number of the system's error."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NET) == 0:
        return 0
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_USER | _NEW_NET) != 0:
        return ctypes.get_errno()
    try:
        # Without this the process would be nobody, and could not create its files.
        for name, text in (
            ("uid_map", b"%d %d 1" % (user, user)),
            ("setgroups", b"deny"),
            ("gid_map", b"%d %d 1" % (group, group)),
        ):
            file = os.open(f"/proc/self/{name}", os.O_WRONLY)
            os.write(file, text)
            os.close(file)
    except OSError as error:
        return error.errno or 1
    # The rights over the new namespaces are of no use here.
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    return 0 if libc.capset(header, (ctypes.c_uint32 * 6)()) == 0 else ctypes.get_errno()


if __name__ == "__main__":
    reason = cut_network()
    from plugway_local_engine._worker import main

    main(reason)
