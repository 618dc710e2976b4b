"""What is needed to run a server: the command of a preset, or an entry of `.mcp.json`."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import platformdirs

from plugway import PlugwayError, as_list, as_object
from plugway_mcp._options import ROOTS, is_name
from plugway_mcp._presets import Preset

_BROWSERS: Final = (
    *("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome"),
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_WHOLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_BEARER: Final = re.compile(r"[Bb]earer\s+\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SECRET: Final = re.compile(
    "auth|bearer|cookie|credential|key|pass(wd|word|phrase)|pat$|secret|token", re.IGNORECASE
)
_KEY: Final = re.compile(
    r"\bbearer\s+[\w.+/=-]{8,}|//[^/\s:@]+:[^/\s@$]+@|\b(?:sk|pk|ghp|gho|github_pat|glpat|xox[abp]|AKIA)"
    r"[-_]?[\w-]{12,}|(?:key|password|passwd|secret|token)[\"']?\s*[=:]\s*[\"']?[^\s\"'$]{8,}",
    re.IGNORECASE,
)
"""What looks like a key, a password in a URL, or an assignment of one."""


class CannotAdd(PlugwayError):
    """A server cannot be added; the message has the reason and the fix."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A server that may be added."""

    name: str
    options: Mapping[str, Any]
    """The entry as it is written."""
    about: str = ""
    needs: tuple[str, ...] = ()
    """What is used or downloaded, for the user."""
    install: tuple[tuple[str, ...], ...] = ()
    """Commands that are run before, with the user's consent."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Files that are written before, with their texts."""
    notes: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What is started or contacted, as it is typed in a shell."""
        if url := self.options.get("url"):
            return str(url)
        words: list[str] = [str(self.options["command"])]
        for argument in as_list(self.options.get("args")):
            words += as_list(self.options.get("roots")) if argument == ROOTS else [str(argument)]
        return shlex.join(words)


def of_preset(
    preset: Preset, roots: Sequence[Path], allow: Sequence[str], own_addresses: Sequence[str]
) -> Plan:
    """How a preset runs on this machine. Raises `CannotAdd`."""
    options: dict[str, Any] = {"preset": preset.name}
    plan = _npm(preset, options) if preset.npm else _pypi(preset, options)
    args = [*as_list(options.get("args")), *preset.args]
    if preset.browser:
        args = [_browser() if argument == "{executable}" else argument for argument in args]
        geteuid: Callable[[], int] | None = getattr(os, "geteuid", None)
        if geteuid is not None and geteuid() == 0:
            args += preset.root_args
            note = "it runs as root, where Chromium has no sandbox: run the gateway as a user"
            plan = replace(plan, notes=(*plan.notes, note))
    data = platformdirs.user_data_path("plugway", appauthor=False)
    if preset.config:
        file = str(data / "mcp" / f"{preset.name}.json")
        args = [file if argument == "{config}" else argument for argument in args]
        plan = replace(plan, files={file: preset.config})
    options["args"] = args
    if preset.env:
        options["env"] = {k: v.replace("{data}", str(data)) for k, v in preset.env.items()}
    if preset.folders:
        options["roots"] = [str(root) for root in _folders(preset, roots)]
    elif roots:
        raise CannotAdd(f"`{preset.name}` uses no folders: leave `--root` out")
    options["allow"] = list(allow or preset.allow)
    if own_addresses:
        options["own_addresses"] = list(own_addresses)
    return plan


def _npm(preset: Preset, options: dict[str, Any]) -> Plan:
    if shutil.which("npx") is None:
        raise CannotAdd(f"`{preset.name}` needs Node.js 18 or newer: install it from nodejs.org")
    package = f"{preset.npm}@{preset.version}"
    options |= {"command": "npx", "args": ["-y", package]}
    needs = (f"the npm package {package}, which npx downloads when it is started first",)
    return Plan(preset.name, options, preset.about, needs)


def _pypi(preset: Preset, options: dict[str, Any]) -> Plan:
    package = f"{preset.pypi}=={preset.version}"
    if shutil.which("uvx") is not None:
        options |= {"command": "uvx", "args": ["--from", package, preset.pypi]}
        needs = (f"the Python package {package}, which uvx downloads when it is started first",)
        return Plan(preset.name, options, preset.about, needs)
    if importlib.util.find_spec(preset.module) is not None:
        options |= {"command": sys.executable, "args": ["-P", "-m", preset.module]}
        return Plan(preset.name, options, preset.about, (f"{preset.pypi}, which is installed",))
    data = platformdirs.user_data_path("plugway", appauthor=False)
    folder = data / "mcp" / f"{preset.name}-{preset.version}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    options |= {"command": str(python), "args": ["-P", "-m", preset.module]}
    install: tuple[tuple[str, ...], ...] = (
        (sys.executable, "-m", "venv", str(folder)),
        (str(python), "-m", "pip", "install", "--quiet", package),
    )
    needs = (f"the Python package {package}, in an environment of its own: {folder}",)
    return Plan(preset.name, options, preset.about, needs, install)


def _browser() -> str:
    for name in _BROWSERS:
        if (found := shutil.which(name)) is not None:
            return found
    raise CannotAdd(
        "`browser` needs Chromium: install it (Debian: `sudo apt-get install chromium`, macOS: "
        "`brew install --cask chromium`), then repeat the command"
    )


def _folders(preset: Preset, roots: Sequence[Path]) -> list[Path]:
    """The folders to use: those given, or the current one. Raises `CannotAdd`."""
    found = [root.expanduser().resolve() for root in roots] or [Path.cwd()]
    for root in found:
        if not os.path.isdir(root):
            raise CannotAdd(f"there is no folder `{root}`")
        if not roots and root in (Path.home(), *root.parents[-1:], Path(root.anchor)):
            raise CannotAdd(f"`{preset.name}` needs folders: name them with `--root FOLDER`")
    if preset.folders == "repository" and (len(found) != 1 or not (found[0] / ".git").exists()):
        raise CannotAdd("`git` needs one folder that is a repository: name it with `--root FOLDER`")
    return found


def of_command(
    name: str, words: Sequence[str], allow: Sequence[str], roots: Sequence[Path]
) -> Plan:
    """A server with its own command. Raises `CannotAdd`."""
    if not is_name(name):
        raise CannotAdd(
            f"`{name}` cannot be a name: use up to 32 lower-case letters, digits, `-` and `_`"
        )
    options: dict[str, Any] = {"command": words[0], "args": list(words[1:])}
    if roots:
        options["roots"] = [str(root.expanduser().resolve()) for root in roots]
    options["allow"] = list(allow or ("read",))
    return Plan(name, options, needs=(f"the program `{words[0]}`",))


def of_file(text: str) -> tuple[list[Plan], list[str]]:
    """The servers of `.mcp.json` or `.claude.json`, and why others are left out.

    Raises `CannotAdd`: it is not such a file.
    """
    try:
        document = as_object(json.loads(text))
    except ValueError:
        raise CannotAdd("the file is not JSON") from None
    if "mcpServers" not in document:
        raise CannotAdd("the file has no `mcpServers`")
    plans: dict[str, Plan] = {}
    problems: list[str] = []
    for name, entry in as_object(document["mcpServers"]).items():
        try:
            plan = _imported(str(name), as_object(entry))
            if plan.name in plans:
                raise CannotAdd(f"another one is called `{plan.name}` already")
            plans[plan.name] = plan
        except CannotAdd as error:
            problems.append(f"{name}: {error}")
    if not plans and not problems:
        problems.append("`mcpServers`: it names no servers")
    return list(plans.values()), problems


def _imported(given: str, entry: Mapping[str, Any]) -> Plan:
    name = re.sub(r"[^a-z0-9_-]+", "-", given.lower()).strip("-_")[:32]
    if not is_name(name):
        raise CannotAdd("it has no usable name")
    if entry.get("disabled") is True:
        raise CannotAdd("it is disabled there")
    kind = entry.get("type", "http" if "url" in entry else "stdio")
    if kind == "stdio" and isinstance(entry.get("command"), str):
        return _program(name, entry)
    notes: list[str] = []
    if kind not in ("http", "streamable-http") or not isinstance(entry.get("url"), str):
        raise CannotAdd(f"its type `{kind}` is not supported: `stdio` and `http` are")
    options: dict[str, Any] = {"url": _expanded(entry["url"])}
    headers = as_object(entry.get("headers"))
    for key in [key for key in headers if key.lower() == "authorization"]:
        if bearer := _BEARER.fullmatch(str(headers[key])):
            options["bearer"] = {"$env": bearer[1]}
            del headers[key]
    if values := _values(headers, notes):
        options["headers"] = values
    return Plan(name, {**options, "allow": ["read"]}, notes=tuple(notes))


def _program(name: str, entry: Mapping[str, Any]) -> Plan:
    options: dict[str, Any] = {"command": _expanded(entry["command"])}
    args = [_expanded(str(argument)) for argument in as_list(entry.get("args"))]
    notes: list[str] = []
    if any(map(_KEY.search, args)):
        notes.append(
            "an argument seems to hold a key in plain text, and arguments cannot name one: give it "
            "to the server in `env`, if it reads it there"
        )
    if args:
        options["args"] = args
    if env := _values(as_object(entry.get("env")), notes):
        options["env"] = env
    return Plan(name, {**options, "allow": ["read"]}, notes=tuple(notes))


def _expanded(text: str) -> str:
    """`${NAME:-default}` as its default; a variable without one has no value here."""

    def value(found: re.Match[str]) -> str:
        if found[2] is None:
            raise CannotAdd(f"it uses `{found[0]}` outside of `env` and `headers`; add it by hand")
        return found[2]

    return _WHOLE.sub(value, text)


def _values(given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Environment or headers. Keys in plain text are not copied, but named."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        text = str(value)
        whole = _WHOLE.fullmatch(text)
        if whole and whole[2] is not None and not os.environ.get(whole[1]):
            whole, text = None, whole[2]  # its default
        if whole:
            values[name] = {"$env": whole[1]}
        elif text and (SECRET.search(name) or _KEY.search(text)):
            variable = re.sub(r"[^A-Za-z0-9]+", "_", name).upper()
            values[name] = {"$env": variable}
            notes.append(
                f"`{name}` is a key in plain text and is not copied: set the variable "
                f"`{variable}`, or run `plugway keys set` and write `{{$keyring: NAME}}`"
            )
        else:
            values[name] = _expanded(text)
    return values
