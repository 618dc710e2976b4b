"""The file of a systemd user unit: the service and its sandbox, with systemd's quoting."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from plugway import PlugwayError
from plugway_service._model import WRITTEN_BY, Service, Setting

_BASIC: Final = """
# The sandbox. These need nothing from the system:
# No program that it starts gets more rights than it has.
NoNewPrivileges=yes
# Files that it creates are only for this user.
UMask=0077
RestrictSUIDSGID=yes
# Sockets: local ones (key store, engines), TCP, and the list of network interfaces.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# The `llama-cpp` and `mlx` plugins disconnect their engines with a user and a network namespace.
RestrictNamespaces=user net
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
# Left out: MemoryDenyWriteExecute (Node.js, which runs many MCP servers, and GPU drivers compile
# code at run time), PrivateDevices and ProtectClock (they hide GPUs), PrivateNetwork and
# IPAddressDeny (upstreams), ProtectProc and ProcSubset (they need root; `system-tools` lists
# processes), CapabilityBoundingSet (a user has none).
"""
_ISOLATED: Final = """
# These need a user namespace. Without PrivateUsers, systemd 252 ignores them without a message.
# In it, files of other users, root's included, belong to nobody.
PrivateUsers=yes
# Nothing is writable but these folders. Add more with `plugway service install --write FOLDER`.
ProtectSystem=strict
{writable}
PrivateTmp=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectHostname=yes
"""
_NOT_ISOLATED: Final = """
# Left out, because the system refuses user namespaces, or because of `--no-isolate`: PrivateUsers,
# ProtectSystem, PrivateTmp, ProtectKernel*, ProtectControlGroups, ProtectHostname.
"""
ISOLATION: Final = (
    "PrivateUsers=yes",
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
)
"""What a trial run must survive before the unit asks for it."""


def quoted(word: str) -> str:
    """A word of a list in a unit; `systemd.syntax(7)`, `systemd.unit(5)` (specifiers)."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def raw(path: Path) -> str:
    """A path in an option that takes one path without quotes."""
    return str(path).replace("%", "%%")


def unit_text(service: Service, setting: Setting) -> str:
    """The unit of a service. Raises `PlugwayError`."""
    program, *words = [*setting.command, *service.arguments()]
    if any(character in program for character in "\"'\\"):
        raise PlugwayError(
            f"systemd refuses programs with a quote or a backslash in their path: `{program}`. "
            "Move the environment to another folder"
        )
    # `:` turns the expansion of variables off (`systemd.service(5)`).
    command = " ".join(quoted(word) for word in (f":{program}", *words))
    writable = " ".join(quoted(f"-{folder}") for folder in setting.writable)
    isolation = _ISOLATED.format(writable=f"ReadWritePaths={writable}")
    lines = [
        f"# {WRITTEN_BY}",
        "# To change it, use a drop-in, which the next installation keeps:",
        f"# systemctl --user edit {service.unit}",
        f"# {service.mark}",
        "[Unit]",
        f"Description=Plugway gateway on port {service.port}",
        "# After five starts in two minutes it is given up.",
        "StartLimitIntervalSec=120",
        "StartLimitBurst=5",
        "",
        "[Service]",
        "# It reports that it is ready once it answers requests.",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={command}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        f"EnvironmentFile=-{raw(setting.environment_file)}",
        *(f"Environment={quoted(f'{key}={value}')}" for key, value in setting.variables.items()),
        "Restart=on-failure",
        "RestartSec=2",
        "# Exit code 2 is a wrong configuration: starting again does not fix it.",
        "RestartPreventExitStatus=2",
        "TimeoutStartSec=120",
        "# Only the gateway gets the signal to stop: its engines finish the replies in progress.",
        "KillMode=mixed",
        "# `server.drain_seconds`, and some time to clean up.",
        f"TimeoutStopSec={setting.stop_seconds}",
        "# An engine that runs out of memory does not end the gateway.",
        "OOMPolicy=continue",
        "# The gateway refuses connections before it runs out of files; the default is 1024.",
        "LimitNOFILE=65536",
        *([f"StandardOutput=append:{raw(service.log)}"] if service.log else []),
        *(["StandardError=inherit"] if service.log else []),
        _BASIC.rstrip("\n"),
        (isolation if setting.isolated else _NOT_ISOLATED).strip("\n"),
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    return "\n".join(lines)
