"""Stands in for `systemctl --user`, `systemd-run` and `journalctl`, where no systemd runs.

It accepts only the commands that it knows, reads units by systemd's rules, and starts and stops
their processes. Formats, messages and exit codes are those of systemd 252 (Debian 12), recorded
with a real user manager. State is in the folder `SCRIPTED_SYSTEMD`.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from systemd_syntax import options, specified, words

FOLDER = Path(os.environ["SCRIPTED_SYSTEMD"])
NO_BUS = "Failed to connect to bus: No medium found"
UNITS = Path(os.environ["HOME"], ".config/systemd/user")
WANTS = UNITS / "default.target.wants"


def systemctl(arguments):
    if (FOLDER / "no-bus").exists():
        fail(NO_BUS)
    user, verb, *rest = arguments
    assert user == "--user"
    if (verb, rest) == ("show", ["--property=Version"]):
        print("Version=252.38-1~deb12u1")
    elif verb == "show":
        show(*rest)
    elif (verb, rest) == ("daemon-reload", []):
        pass
    elif verb == "enable":
        (unit,) = rest
        WANTS.mkdir(exist_ok=True)
        link = WANTS / unit
        link.unlink(missing_ok=True)
        link.symlink_to(UNITS / unit)
    elif verb == "disable":
        now, unit = rest
        assert now == "--now"
        stop(unit)
        (WANTS / unit).unlink(missing_ok=True)
    elif verb == "reset-failed":
        (unit,) = rest
        if not known(unit):
            fail(f"Failed to reset failed state of unit {unit}: Unit {unit} not loaded.")
    elif verb == "restart":
        restart(*rest)
    else:
        raise AssertionError(arguments)


def restart(unit):
    stop(unit)
    option = {name: value for _, name, value in options((UNITS / unit).read_text())}
    colon, *command = words(option["ExecStart"])
    assert option["Type"] == "notify"
    environment = {"HOME": os.environ["HOME"], "PATH": os.defpath}
    environment |= file_variables(specified(option["EnvironmentFile"]))
    notify = FOLDER / "notify"
    notify.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(notify))
        channel.settimeout(0.05)
        with open(specified(option["StandardOutput"]).removeprefix("append:"), "ab") as log:
            child = subprocess.Popen(
                [colon.removeprefix(":"), *command],
                env=environment | {"NOTIFY_SOCKET": str(notify)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while True:
            try:
                assert channel.recv(4096).decode().splitlines()[0] == "READY=1"
            except TimeoutError:
                if child.poll() is None:
                    continue
                write(unit, failed=child.returncode)
                fail(
                    f"Job for {unit} failed because the control process exited with error code.\n"
                    f'See "systemctl --user status {unit}" and "journalctl --user -xeu {unit}" for '
                    "details."
                )
            break
    write(unit, pid=child.pid, since=int(time.monotonic() * 1e6))


def file_variables(value):
    path = Path(value.removeprefix("-"))
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def stop(unit):
    pid = known(unit).get("pid")
    if pid:
        os.kill(pid, signal.SIGTERM)
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [])
    write(unit)


def show(unit, wanted):
    state = known(unit)
    pid = state.get("pid", 0)
    failed = state.get("failed")
    values = {
        "Result": "exit-code" if failed else "success",
        "NRestarts": 0,
        "MainPID": pid,
        "ExecMainStatus": failed or 0,
        "LoadState": "loaded" if (UNITS / unit).exists() else "not-found",
        "ActiveState": "active" if pid else "failed" if failed else "inactive",
        "SubState": "running" if pid else "failed" if failed else "dead",
        "UnitFileState": "enabled" if (WANTS / unit).is_symlink() else "disabled",
        "ActiveEnterTimestampMonotonic": state.get("since", 0),
    }
    asked = set(wanted.removeprefix("--property=").split(","))
    assert asked <= set(values), "systemd leaves unknown properties out"
    for name, value in values.items():
        if name in asked:
            print(f"{name}={value}")


def known(unit):
    try:
        return json.loads((FOLDER / unit).read_text())
    except OSError:
        return {}


def write(unit, **state):
    (FOLDER / unit).write_text(json.dumps(state))


def systemd_run(arguments):
    """The sandbox cannot be made here; `no-namespaces` is a system that refuses it."""
    flags = ("--user", "--wait", "--collect", "--quiet", "--pipe")
    rest = [word for word in arguments if word not in flags]
    environment = {"HOME": os.environ["HOME"], "PATH": os.defpath}
    while rest[0].startswith("--"):
        name, _, value = rest.pop(0).partition("=")
        key, _, value = value.partition("=")
        if name == "--setenv":
            environment[key] = value
        elif key == "EnvironmentFile":
            environment |= file_variables(value)  # without specifiers
        else:
            assert name == "--property"
            if (FOLDER / "no-namespaces").exists():
                sys.exit(226)
    os.execve(rest[0], rest, environment)


def journalctl(arguments):
    print("No journal files were opened due to insufficient permissions.", file=sys.stderr)
    sys.exit(1)


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    {"systemctl": systemctl, "systemd-run": systemd_run, "journalctl": journalctl}[name](given)
