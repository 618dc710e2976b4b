"""Start of a worker process: disconnect the network, then run the worker.

Runs as a file and imports nothing else first, because a process with threads, such as numpy's,
cannot change its namespaces.
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
    """Move into a new network namespace, which has no connections, not even loopback.

    Returns the reason if that is not possible here, else an empty string.
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no network namespaces"
    pid = os.fork()
    if pid == 0:
        # Try it in a child process: half of it cannot be undone.
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
    """0, or the system's error number."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NET) == 0:
        return 0
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_USER | _NEW_NET) != 0:
        return ctypes.get_errno()
    try:
        # Without this the process has the user id `nobody`, and cannot create its files.
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
    # The rights over the new namespaces are not needed.
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    return 0 if libc.capset(header, (ctypes.c_uint32 * 6)()) == 0 else ctypes.get_errno()


if __name__ == "__main__":
    reason = cut_network()
    from plugway_local_engine._worker import main

    main(reason)
