"""Takes from a process what Windows does not have, as far as another system can show it.

    python -m tests.like_windows serve --port 0     # the command `plugway` in such a process

Libraries are imported before: each of them brings its own way for Windows, which we do not test.
"""

import asyncio
import importlib
import os
import re
import signal
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    folder
    for folder in (ROOT / "kernel/src", *ROOT.glob("plugins/*/src"), ROOT / "plugin-template/src")
    if any(folder.rglob("*.py"))
]
MODULES = (
    *("fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"),
    *("_posixsubprocess", "_curses", "curses", "nis", "spwd", "crypt", "uvloop"),
)
MISSING = {
    os: (
        *("chown", "fchmod", "fchown", "fork", "forkpty", "getegid", "geteuid", "getgid"),
        *("getgroups", "getloadavg", "getpgid", "getpgrp", "getpriority", "getresuid", "getsid"),
        *("getuid", "initgroups", "killpg", "lchown", "lockf", "memfd_create", "mkfifo", "mknod"),
        *("nice", "posix_fadvise", "posix_spawn", "pread", "pwrite", "sched_getaffinity"),
        *("sched_setaffinity", "sendfile", "setgid", "setpgid", "setpriority", "setsid", "setuid"),
        *("statvfs", "sysconf", "uname", "wait3", "wait4", "writev", "readv"),
        *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC"),
    ),
    signal: (
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP"),
        *("SIGTSTP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "alarm", "pause", "pthread_kill"),
        *("pthread_sigmask", "setitimer", "siginterrupt", "sigwait"),
    ),
    socket: ("AF_UNIX", "SO_REUSEPORT", "MSG_DONTWAIT", "SCM_RIGHTS", "send_fds", "recv_fds"),
    asyncio: ("start_unix_server", "open_unix_connection"),
}


def hide() -> None:
    """From now on this process looks like one on Windows to what it imports and calls."""
    for module in sorted(_libraries()):
        importlib.import_module(module)
    _keep_pairs_of_sockets()
    for module in MODULES:
        sys.modules[module] = None
    for owner, names in MISSING.items():
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    loop = asyncio.SelectorEventLoop
    loop.add_signal_handler = asyncio.AbstractEventLoop.add_signal_handler
    loop.remove_signal_handler = asyncio.AbstractEventLoop.remove_signal_handler
    sys.platform = "win32"


def _keep_pairs_of_sockets() -> None:
    """An event loop of this system needs a pair of Unix sockets for itself."""
    pair, family = socket.socketpair, socket.AF_UNIX
    socket.socketpair = lambda *words, **named: pair(family) if not words else pair(*words, **named)


_IMPORT = re.compile(r"^ *(?:from ([\w.]+) import|import ([\w., ]+?)(?: as \w+)?$)", re.MULTILINE)


def _libraries() -> set[str]:
    """What the sources import and is not ours; found in the text, since parsing takes seconds."""
    found: set[str] = set()
    for folder in SOURCES:
        for path in folder.rglob("*.py"):
            for module, modules in _IMPORT.findall(path.read_text("utf-8")):
                found |= {module} if module else set(modules.split(", "))
    return {name for name in found if not name.startswith("plugway")} - {"msvcrt", *MODULES}


if __name__ == "__main__":
    hide()
    from plugway.cli.main import main

    main()
