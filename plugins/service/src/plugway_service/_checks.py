"""What is checked before a service is installed. Each check raises `PlugwayError` with a fix."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import platformdirs

from plugway import LocalGateway, PlugwayError
from plugway_http.server.port_owner import port_owner
from plugway_service._model import Manager, Service, Setting, State
from plugway_service._serve import variables_in

_CHECK_SECONDS: Final = 120.0
_KEPT: Final = ("HOME", "USER", "LOGNAME", "LANG", "PATH", "XDG_RUNTIME_DIR")
"""Variables of this shell that a service has, too."""
_FOLDERS: Final = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")


def not_root(allowed: bool) -> None:
    """Refuse to run the gateway with all rights by accident."""
    if not allowed and _is_root():
        raise PlugwayError(
            "as root, the gateway and everything that it starts could change the whole system: "
            "run this as an ordinary user, or add `--as-root`"
        )


def lasting(paths: Mapping[str, Path | None]) -> None:
    """Refuse paths that may be gone when the service starts the next time."""
    for what, path in paths.items():
        if path is not None and ".cache" in path.parts:
            raise PlugwayError(
                f"{what} is `{path}`, in a cache, such as that of `uvx` and `pipx run`: the "
                "service would stop working when it is cleaned. Use one in a folder that stays"
            )
        for folder, kind in _temporary_folders():
            if path is not None and (_inside(path, folder) or _inside(path.resolve(), folder)):
                raise PlugwayError(
                    f"{what} is `{path}`, in {kind} (`{folder}`): the service would stop working "
                    "when it is cleaned. Use one in a folder that stays"
                )


def writable_text(paths: Iterable[Path]) -> None:
    """Refuse paths that the file of a service cannot contain."""
    for path in paths:
        text = str(path)
        if any(ord(c) < 32 or ord(c) == 127 or ord(c) & 0xFFFE == 0xFFFE for c in text):
            raise PlugwayError(f"{text!r} contains a control character: rename it")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise PlugwayError(f"{text!r} is not valid UTF-8: rename it") from None


def valid_configuration(
    plugway: str, config: Path | None, trial: Sequence[str], setting: Setting
) -> None:
    """Run `plugway check` as the service will run: with its variables, and in its sandbox if
    `trial` is the beginning of a command that runs there."""
    words = [plugway, "check", *(["--config", str(config)] if config else [])]
    given = variables_in(setting.environment_file)
    variables = os.environ if trial else service_variables(setting.variables, given)
    failed = _problems([*trial, *words], variables)
    if not failed:
        return
    hint = ""
    if not _problems(words, os.environ):
        sandbox = ", and in its sandbox files of other users belong to nobody (`--no-isolate`)"
        hint = (
            "\nit is valid in this shell, but the service does not have this shell's variables "
            f"(put them into {setting.environment_file}){sandbox if setting.isolated else ''}"
        )
    raise PlugwayError(f"nothing was written, because the configuration fails:\n{failed}{hint}")


def _problems(words: Sequence[str], variables: Mapping[str, str]) -> str:
    """What `plugway check` reports; empty if the configuration is valid."""
    try:
        done = subprocess.run(
            words,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise PlugwayError(f"`plugway check` timed out after {_CHECK_SECONDS:g} s") from None
    if done.returncode == 0:
        return ""
    said = done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}"
    return said.removeprefix("plugway: ")


def service_variables(folders: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """The variables that the service will have; `given` are those of the environment file."""
    if sys.platform == "win32":  # a task has the variables of the user
        return {**os.environ, **folders, **given}
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    bus = {k: v for k, v in os.environ.items() if k == "DBUS_SESSION_BUS_ADDRESS"}
    return {**kept, **bus, **folders, **given}


def folder_variables() -> dict[str, str]:
    """Variables of this shell that move the user's folders; the service must use the same."""
    return {name: os.environ[name] for name in _FOLDERS if os.environ.get(name)}


def own_port(service: Service, others: Sequence[Service], gateway: LocalGateway) -> None:
    """Refuse a port that is not fixed, or that another service of this user has."""
    if not gateway.port:
        raise PlugwayError("with `port: 0` clients cannot find the gateway: set `server.port`")
    for other in others:
        if other.port == service.port and other.name != service.name:
            raise PlugwayError(
                f"the service `{other.name}` has port {service.port}: choose another with `--port`,"
                f" or run `plugway service uninstall --name {other.name}`"
            )


def free_port(gateway: LocalGateway, system: Manager, before: Service | None) -> None:
    """Refuse a port that another process has."""
    known = system.state(before.unit) if before and before.port == gateway.port else State()
    if known.running or known.starting or (known.enabled and sys.platform == "win32"):
        return  # it is this service, which is restarted
    port, owner = gateway.port, port_owner(gateway.port)
    try:
        state = gateway.state()
    except PlugwayError as error:
        who = owner.description if owner.pid or owner.user else str(error)
        raise PlugwayError(
            f"port {port} is in use by {who}: stop it, or choose another with `--port`"
        ) from None
    if state is not None:
        pid = state.get("pid")
        stop = f"`kill {pid}`" if sys.platform != "win32" else f"`taskkill /PID {pid} /F`"
        raise PlugwayError(
            f"a gateway runs on port {port} already (process {pid}): stop it ({stop}, or "
            "`plugway up --stop` if `plugway claude` started it), or choose another with `--port`"
        )


def _is_root() -> bool:
    return getattr(os, "geteuid", lambda: 1)() == 0


def _temporary_folders() -> list[tuple[Path, str]]:
    """Folders whose files do not last, and what each is."""
    names = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/private/tmp", "/dev/shm", "/run"]  # noqa: S108
    found = [(Path(name), "a temporary folder") for name in names]
    cache = platformdirs.user_cache_path()
    return [*found, (cache, "a cache, such as that of `uvx` and `pipx run`")]


def _inside(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder) or path.is_relative_to(folder.resolve())
