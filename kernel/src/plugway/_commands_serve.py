"""`plugway serve`: run the gateway, and say how to use it.

The app and the server are made elsewhere; this is what happens around them.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Collection, Mapping
from typing import Protocol, cast

import anyio.to_thread

from plugway._commands_config import installed_stack
from plugway._config import Config, parse_config
from plugway._errors import PlugwayError
from plugway._settings import token_path

_log = logging.getLogger(__name__)
_GREETING = (
    '{"model": "default", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}'
)


def banner(config: Config, version: str, url: str, backends: Collection[str]) -> str:
    """What a person reads when the gateway listens: where it is and how to use it."""
    token, source = token_hint(config)
    parts = [
        f"Plugway {version} listens on {url}",
        f"  config   {config.path or config.document.where}",
        f"  plugins  {', '.join(entry.name for entry in config.plugins) or 'none'}",
        f"  token    {source}",
        "",
        "Connect Claude Code:",
        f'  export ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN="{token}"',
        "  claude",
        "",
        "Try it:",
        f'  curl {url}/v1/messages -H "authorization: Bearer {token}" \\',
        "    -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \\",
        f"    -d '{_GREETING}'",
    ]
    if backends and (hint := next_steps(config)):
        parts += ["", hint]
    return "\n".join(parts)


def token_hint(config: Config) -> tuple[str, str]:
    """How a shell gets the token, and where it is kept; never the token itself."""
    if config.server.token is None:
        path = token_path()
        return f"$(cat {shlex.quote(str(path))})", str(path)
    root = cast("Mapping[str, object]", config.document.value)
    written = cast("Mapping[str, object]", root.get("server") or {}).get("token")
    if isinstance(written, Mapping):
        source, name = next(iter(cast("Mapping[str, str]", written).items()))
        return {
            "$env": (f"${name}", f"environment variable {name}"),
            "$file": (f"$(cat {shlex.quote(name)})", name),
            "$keyring": (f"$(keyring get plugway {shlex.quote(name)})", f"keyring, as {name}"),
        }[source]
    return "YOUR_TOKEN", f"`server.token` in {config.document.where}"


def next_steps(config: Config) -> str:
    """How to add a real backend, while nothing is listed but what the installed stack lists.

    With other options nothing is said: the text is about the model that the stack runs.
    """
    try:
        stack = installed_stack()
        basic = [(entry.use, entry.options) for entry in parse_config(stack.text).plugins]
    except PlugwayError:
        return ""
    listed = [(entry.use, entry.options) for entry in config.plugins]
    return stack.next_steps if listed and all(entry in basic for entry in listed) else ""


def wait_words(exchanges: int, seconds: float) -> str:
    """What a person reads who stopped a gateway in which exchanges still run."""
    several = "1 exchange that has" if exchanges == 1 else f"{exchanges} exchanges that have"
    return f"waiting up to {seconds:g} s for {several} not ended; Ctrl-C once more cuts them off"


class Reloadable(Protocol):
    """An app that can take another configuration while it runs."""

    async def reload(self, config: Config) -> object:
        """Serve new exchanges by `config`; raises and changes nothing if it cannot."""
        ...


class Reloader:
    """Puts a changed configuration into service; what it raises leaves the old one there."""

    def __init__(self, app: Reloadable, config: Config, read: Callable[[], Config]) -> None:
        self._app = app
        self._config = config
        self._read = read

    async def __call__(self) -> None:
        """Read the file again; what it says about address and port waits for a restart."""
        config = await anyio.to_thread.run_sync(self._read)
        await self._app.reload(config)
        before, self._config = self._config.server, config
        if (before.host, before.port) != (config.server.host, config.server.port):
            _log.warning("the new address in `server` takes effect after a restart")
