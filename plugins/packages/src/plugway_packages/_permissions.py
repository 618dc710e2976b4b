"""The permissions that a package of plugins declares, in a file next to its modules.

The kernel refuses hooks and secrets that are not declared. It cannot refuse hosts, files and
processes, because plugins run in its own process.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path
from typing import cast

from plugway_wire.errors import PlugwayError

FILE = "plugway-permissions.toml"
"""Name of the file; it is in the folder of the top-level module that the entry point names."""
HOOKS: Mapping[str, str] = {
    "register_backends": "provides models, and sees what is sent to them",
    "register_dialects": "provides an API for clients, and sees what is sent to it",
    "register_routes": "adds pages or addresses to the gateway",
    "lifespan": "runs in the background",
    "authenticate": "decides who may use the gateway, and sees their tokens",
    "identify": "reads requests to tell conversations apart",
    "transform_request": "reads and changes requests",
    "answer": "reads requests and can answer them itself",
    "resolve_route": "reads requests and chooses the model",
    "plan_attempts": "reads requests and chooses which models are tried",
    "prepare_attempt": "reads and changes requests to a model",
    "around_attempt": "reads, changes, repeats or stops requests to a model",
    "normalize_failure": "writes the error that a client gets",
    "transform_response": "reads and changes replies",
    "transform_stream": "reads and changes replies while they are written",
    "list_models": "changes the list of models",
    "finished": "is notified of the end of each request",
}
"""What each hook means for the user."""
_MAX_BYTES = 64 * 1024
_OPTION = re.compile(r"\{[a-z_][a-z0-9_]*\}")
_HOST = re.compile(r"\*|(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")
_WIDE_FILES = {"*", "/", "~", "~/", "/*", "~/*", "C:\\", "C:/"}

Place = tuple[str | int, ...]


class PermissionsError(PlugwayError):
    """The declared permissions are invalid."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"has invalid permissions (`{FILE}`): {reason}")


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a package declares; what it does not mention, it declares not to use."""

    hooks: tuple[str, ...] = ()
    """The hooks that its plugins implement."""
    secrets: tuple[str, ...] = ()
    """The options that may refer to a secret, such as `api_key` or `servers.*.token`."""
    hosts: tuple[str, ...] = ()
    """The hosts that it connects to: `api.example.com`, `*.example.com`, `*`, or `{option}` for
    the host in an option."""
    files: tuple[str, ...] = ()
    """The files and folders that it reads or writes besides its own: absolute, below `~`, or
    `{option}`."""
    processes: tuple[str, ...] = ()
    """The programs that it starts: a name, `*`, or `{option}`."""

    def undeclared_hooks(self, plugin: type, marker: str) -> Sequence[str]:
        """The hooks that a class implements but are not declared; an implementation has an
        attribute called `marker` with its options."""
        found: set[str] = set()
        for name in dir(plugin):
            options = getattr(getattr(plugin, name, None), marker, None)
            if options is not None:
                found.add(options.get("specname") or name)
        return sorted(found - set(self.hooks))

    def undeclared_secrets(
        self, options: Mapping[str, object], is_reference: Callable[[object], bool]
    ) -> Sequence[Place]:
        """The places in `options` of secret references that are not declared."""
        patterns = [pattern.split(".") for pattern in self.secrets]
        return [
            place
            for place in _references(options, (), is_reference)
            if not any(_fits(place, pattern) for pattern in patterns)
        ]

    def words(self) -> Sequence[str]:
        """One line for each permission, for a person who decides whether to install it."""
        lines = [f"{HOOKS[hook]} (hook `{hook}`)" for hook in self.hooks]
        lines += [f"gets the secret in its option `{name}`" for name in self.secrets]
        lines += [f"connects to {_named(host, 'ANY host', {'*'})}" for host in self.hosts]
        lines += [
            f"reads and writes {_named(file, 'ALL your files', _WIDE_FILES)}" for file in self.files
        ]
        lines += [f"starts {_named(name, 'ANY program', {'*'})}" for name in self.processes]
        return lines or ["uses nothing"]


def permissions(point: EntryPoint) -> Permissions | None:
    """The permissions of the package of an entry point; None if it declares none.

    Nothing is imported. Raises `PermissionsError`.
    """
    top = point.module.partition(".")[0]
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / FILE
        if path.is_file():
            try:
                return parse_permissions(path.read_bytes())
            except OSError as error:
                raise PermissionsError(f"cannot be read: {error.strerror}") from None
    return None


def parse_permissions(raw: bytes) -> Permissions:
    """The permissions in the text of the file. Raises `PermissionsError`."""
    if len(raw) > _MAX_BYTES:
        raise PermissionsError("larger than 64 KiB")
    try:
        document: dict[str, object] = tomllib.loads(raw.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PermissionsError(str(error)) from None
    names = [field.name for field in fields(Permissions)]
    if unknown := sorted(set(document) - set(names)):
        key = repr(unknown[0][:200])[1:-1]
        raise PermissionsError(f"unknown key `{key}`; the keys are {', '.join(names)}")
    values = {name: _texts(name, value) for name, value in document.items()}
    for hook in values.get("hooks", ()):
        if hook not in HOOKS:
            raise PermissionsError(f"there is no hook `{hook}`")
    for host in values.get("hosts", ()):
        if not (_OPTION.fullmatch(host) or _HOST.fullmatch(host)):
            fix = "write a name without scheme, port or path, such as `api.example.com`"
            raise PermissionsError(f"{host!r} is not a host: {fix}")
    for file in values.get("files", ()):
        if not (_OPTION.fullmatch(file) or file.startswith(("~", "/", "*")) or file[1:3] == ":\\"):
            raise PermissionsError(f"{file!r} should be an absolute path or start with `~/`")
    return Permissions(**values)


def _texts(name: str, value: object) -> tuple[str, ...]:
    items = cast("list[object]", value) if isinstance(value, list) else [None]
    texts = tuple(x for x in items if isinstance(x, str) and 0 < len(x) <= 200 and x.isprintable())
    if len(texts) < len(items):  # a person reads them before the package is installed
        raise PermissionsError(
            f"`{name}` should be a list of texts of 1 to 200 printable characters"
        )
    return texts


def _references(
    node: object, place: Place, is_reference: Callable[[object], bool]
) -> Iterator[Place]:
    if is_reference(node):
        yield place
    elif isinstance(node, Mapping):
        for key, value in cast("Mapping[str, object]", node).items():
            yield from _references(value, (*place, key), is_reference)
    elif isinstance(node, list):
        for index, value in enumerate(cast("list[object]", node)):
            yield from _references(value, (*place, index), is_reference)


def _fits(place: Place, pattern: Sequence[str]) -> bool:
    return len(place) == len(pattern) and all(
        fnmatchcase(str(part), wanted) for part, wanted in zip(place, pattern, strict=True)
    )


def _named(value: str, anything: str, wide: set[str]) -> str:
    if value in wide:
        return anything
    return f"what its option `{value[1:-1]}` names" if _OPTION.fullmatch(value) else f"`{value}`"
