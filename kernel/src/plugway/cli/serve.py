"""`plugway serve`: run the gateway, and say how to use it.

The app and the server are made elsewhere; this is what happens around them.
"""

from __future__ import annotations

import logging
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, cast

import anyio
import anyio.to_thread

from plugway.cli.config import installed_stack
from plugway.config.config import Config, parse_config
from plugway.config.settings import USUAL_STORE, token_path
from plugway.types.errors import PlugwayError
from plugway.types.request import MessagesRequest

if TYPE_CHECKING:
    from plugway.plugins.gateway import Gateway
    from plugway.types.backend import ModelInfo

_log = logging.getLogger(__name__)
_GREETING = (
    '{"model": "default", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}'
)
_LISTING_SECONDS = 3.0
_COLUMNS = 100
_LARGE = 100_000
"""Tokens of a window that holds the client's own reserves."""


def tell(text: str) -> None:
    """Say it where the log goes; a full disk there, or nobody who reads, ends nothing."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def banner(config: Config, version: str, url: str) -> str:
    """What a person reads as soon as the gateway listens: where it is, and what it runs."""
    return "\n".join(
        [
            f"Plugway {version} listens on {url}{_everywhere(config.server.host)}",
            f"  config   {config.path or config.document.where}",
            f"  plugins  {', '.join(entry.name for entry in config.plugins) or 'none'}",
            f"  token    {token_hint(config)[1]}",
        ]
    )


def _everywhere(host: str) -> str:
    """What is to be said of an address that is that of no machine."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return ""
    return f", and on every other address of this machine ({host})"


async def how_to_connect(config: Config, url: str, gateway: Gateway) -> str:
    """What a person reads next, once the backends have listed their models."""
    return connection(config, url, await default_model(gateway), gateway.backends)


def connection(config: Config, url: str, model: ModelInfo | None, backends: Sized) -> str:
    """How to use it, in lines to paste; `model` is what `default_model` found."""
    token, _ = token_hint(config)
    parts = [
        "",
        "Connect Claude Code (`plugway claude` does it by itself):",
        f'  export ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN="{token}"',
        *_model_lines(model),
        "  claude",
        *([] if model else ["  (no model is listed yet; ANTHROPIC_MODEL belongs to it as well)"]),
        "",
        "Try it:",
        f'  curl {url}/v1/messages -H "authorization: Bearer {token}" \\',
        "    -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \\",
        f"    -d '{_GREETING}'",
    ]
    if model and model.notice:
        parts += ["", *textwrap.wrap(model.notice, _COLUMNS)]
    if backends and (hint := next_steps(config)):
        parts += ["", hint]
    return "\n".join(parts)


async def default_model(gateway: Gateway) -> ModelInfo | None:
    """The listed model that a name nobody knows leads to, else the first that is listed.

    None where none is listed, or their servers do not answer within three seconds.
    """
    with anyio.move_on_after(_LISTING_SECONDS):
        listed = await gateway.models()
        with suppress(PlugwayError):
            first, *_ = await gateway.plan(MessagesRequest(_GREETING.encode()))
            wanted = f"anthropic/{first.target}"
            listed = sorted(listed, key=lambda info: info.id != wanted)
        return next(iter(listed), None)
    return None


def _model_lines(model: ModelInfo | None) -> list[str]:
    """The exports that tell Claude Code a model and its window, and have it list the others.

    It takes a model that it is not told the window of for one of 1,000,000 tokens, and keeps 32,000
    of any window for an answer, which a small one does not have (2.1.332).
    """
    lines = ["  export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1"]
    if model is None:
        return lines
    lines.append(f"  export ANTHROPIC_MODEL={shlex.quote(model.id)}")
    if window := model.context_tokens:
        lines.append(f"  export CLAUDE_CODE_MAX_CONTEXT_TOKENS={window}")
        if window < _LARGE:
            answer = max(1024, min(8192, window // 8))
            lines.append(f"  export CLAUDE_CODE_MAX_OUTPUT_TOKENS={answer}")
    return lines


def token_hint(config: Config) -> tuple[str, str]:
    """How a shell gets the token, and where it is kept; never the token itself."""
    if config.server.token is None:
        path = token_path()
        return f"$(cat {shlex.quote(str(path))})", str(path)
    root = cast("Mapping[str, object]", config.document.value)
    written = cast("Mapping[str, object]", root.get("server") or {}).get("token")
    if isinstance(written, Mapping):
        source, name = next(iter(cast("Mapping[str, str]", written).items()))
        store = config.server.key_store
        return {
            "$env": (f"${name}", f"environment variable {name}"),
            "$file": (f"$(cat {shlex.quote(name)})", name),
            "$keyring": (_from_store(store, name), f"{store}, as {name}"),
        }[source]
    return "YOUR_TOKEN", f"`server.token` in {config.document.where}"


def _from_store(store: str, name: str) -> str:
    return f"$(keyring get plugway {shlex.quote(name)})" if store == USUAL_STORE else "YOUR_TOKEN"


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

    stale: bool
    """Whether the last change could not be used."""


class Reloader:
    """Puts a changed configuration into service; what it raises leaves the old one there."""

    def __init__(self, app: Reloadable, config: Config, read: Callable[[], Config]) -> None:
        self._app = app
        self._config = config
        self._read = read

    async def __call__(self) -> None:
        """Read the file again; what it says about address and port waits for a restart."""
        self._app.stale = True  # until it is in use
        config = await anyio.to_thread.run_sync(self._read)
        await self._app.reload(config)
        self._app.stale = False
        before, self._config = self._config.server, config
        if (before.host, before.port) != (config.server.host, config.server.port):
            _log.warning("the new address in `server` takes effect after a restart")
