"""`plugway serve`: what it prints about using the gateway, and the reload of a configuration."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import textwrap
from collections.abc import Callable, Mapping, Sized
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread

from plugway.cli.config import installed_stack
from plugway.config.config import Config, parse_config
from plugway.config.listen import WILDCARDS, ca_hint, certificate_files, reached_at
from plugway.config.settings import DEFAULT_STORE, token_path
from plugway.types.request import MessagesRequest
from plugway_wire.errors import PlugwayError

if TYPE_CHECKING:
    from plugway.http.app import App
    from plugway.plugins.gateway import Gateway
    from plugway.types.backend import ModelInfo

_log = logging.getLogger(__name__)
_GREETING = (
    '{"model": "default", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}'
)
_LISTING_SECONDS = 3.0
_COLUMNS = 100
_LARGE = 100_000
"""Context window in tokens that is large enough for Claude Code's default reserves."""


def print_error(text: str) -> None:
    """Print to standard error; a full disk or a closed pipe there is ignored."""
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def forget_unwritten() -> None:
    """Drop what standard error did not take: Python would try again at its end, and fail with a
    status of its own."""
    try:
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # it is None if it was closed from the start
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the end


def banner(config: Config, version: str, url: str) -> str:
    """The text printed when the gateway listens: its address and configuration."""
    host, others = config.server.host, reached_at(config.server)
    every = f", and on every other address of this machine ({host})" if host in WILDCARDS else ""
    return "\n".join(
        [
            f"Plugway {version} listens on {url}{every}",
            *([f"  others   {others}"] if others else []),
            f"  config   {config.path or config.document.where}",
            f"  plugins  {', '.join(entry.name for entry in config.plugins) or 'none'}",
            f"  token    {token_hint(config)[1]}",
        ]
    )


def connection(config: Config, url: str, model: ModelInfo | None, backends: Sized) -> str:
    """The text printed after the banner: how to use the gateway, as lines to paste; `model` is the
    result of `default_model`."""
    token, _ = token_hint(config)
    ca = shlex.quote(ca_hint(certificate_files(config)))
    trust, curl = (f" NODE_EXTRA_CA_CERTS={ca}", f" --cacert {ca}") if ca != "''" else ("", "")
    parts = [
        "",
        "Connect Claude Code (`plugway claude` does this for you):",
        f'  export ANTHROPIC_BASE_URL={url} ANTHROPIC_AUTH_TOKEN="{token}"{trust}',
        *_model_lines(model),
        "  claude",
        *([] if model else ["  (no model is listed yet; set ANTHROPIC_MODEL as well)"]),
        "",
        "Try it:",
        f'  curl{curl} {url}/v1/messages -H "authorization: Bearer {token}" \\',
        "    -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \\",
        f"    -d '{_GREETING}'",
    ]
    if model and model.notice:
        parts += ["", *textwrap.wrap(model.notice, _COLUMNS)]
    if backends and (hint := next_steps(config)):
        parts += ["", hint]
    return "\n".join(parts)


async def default_model(gateway: Gateway) -> ModelInfo | None:
    """The listed model that an unknown name is routed to, else the first one.

    None if none is listed, or their servers do not respond within three seconds.
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
    """The exports that set Claude Code's model and window, and make it list the other models.

    By default it assumes a window of 1,000,000 tokens, and reserves 32,000 of any window for the
    reply, which is too much for a small one (2.1.332).
    """
    lines = ["  export CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1"]
    if model is None:
        return lines
    lines.append(f"  export ANTHROPIC_MODEL={shlex.quote(model.id)}")
    if window := model.context_tokens:
        lines.append(f"  export CLAUDE_CODE_MAX_CONTEXT_TOKENS={window}")
        if window < _LARGE:
            output = max(1024, min(8192, window // 8))
            lines.append(f"  export CLAUDE_CODE_MAX_OUTPUT_TOKENS={output}")
    return lines


def token_hint(config: Config) -> tuple[str, str]:
    """A shell expression for the token, and where it is stored; never the token itself."""
    if config.server.token is None:
        path = token_path()
        return f"$(cat {shlex.quote(str(path))})", str(path)
    root = cast("Mapping[str, object]", config.document.value)
    written = cast("Mapping[str, object]", root.get("server") or {}).get("token")
    if isinstance(written, Mapping):
        source, name = next(iter(cast("Mapping[str, str]", written).items()))
        store = config.server.key_store
        command = f"$(keyring get plugway {shlex.quote(name)})"
        in_store = command if store == DEFAULT_STORE else "YOUR_TOKEN"
        return {
            "$env": (f"${name}", f"environment variable {name}"),
            "$file": (f"$(cat {shlex.quote(name)})", name),
            "$keyring": (in_store, f"{store}, as {name}"),
        }[source]
    return "YOUR_TOKEN", f"`server.token` in {config.document.where}"


def next_steps(config: Config) -> str:
    """How to add a real backend, if the configuration only lists what the installed stack lists.

    Empty if the options differ, because the text is about the model of the stack.
    """
    try:
        stack = installed_stack()
        basic = [(entry.use, entry.options) for entry in parse_config(stack.text).plugins]
    except PlugwayError:
        return ""
    listed = [(entry.use, entry.options) for entry in config.plugins]
    return stack.next_steps if listed and all(entry in basic for entry in listed) else ""


class Reloader:
    """Reloads a changed configuration; if it raises, the old one stays in use."""

    def __init__(self, app: App, config: Config, read: Callable[[], Config]) -> None:
        self._app = app
        self._config = config
        self._read = read

    async def __call__(self) -> None:
        """Read the file again; another address or certificate file needs a restart."""
        self._app.stale = True  # until the new configuration is in use
        config = await anyio.to_thread.run_sync(self._read)
        await self._app.reload(config)
        self._app.stale = False
        before, self._config = self._config.server, config
        now = config.server
        if (before.host, before.port, before.tls) != (now.host, now.port, now.tls):
            _log.warning("the new address or `tls` in `server` takes effect after a restart")
