"""`plugway status` and `plugway explain`: query the running gateway over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console, RenderableType
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from plugway.config.config import (
    ServerOptions,
    find_config,
    gateway_token,
    load_config,
    server_options,
)
from plugway.types.errors import PlugwayError

_SECONDS = 10.0


class NotRunning(PlugwayError):
    """Nothing listens at the gateway's address."""


def server_settings(explicit: Path | None, overrides: Mapping[str, object]) -> ServerOptions:
    """The settings of `server`, from the configuration file if there is one."""
    path = find_config(explicit)
    if path is None:
        return server_options(overrides)
    return load_config(path, overrides).server


def base_url(server: ServerOptions) -> str:
    """The base URL of the gateway for clients on this machine."""
    return server.address


def ask(server: ServerOptions, method: str, path: str, body: bytes | None = None) -> Any:
    """The gateway's JSON response. Raises `PlugwayError`, with the gateway's message if any."""
    url = base_url(server)
    headers = {"authorization": f"Bearer {gateway_token(server)}"}
    if body is not None:
        headers["content-type"] = "application/json"
    import httpx2  # takes 60 ms, and `plugway serve` does not need it

    try:
        # Plain HTTP, for which loading certificates would waste 40 ms.
        with httpx2.Client(base_url=url, timeout=_SECONDS, trust_env=False, verify=False) as client:
            response = client.request(method, path, content=body, headers=headers)
    except httpx2.ConnectError as error:
        raise NotRunning(f"no gateway answers at {url}: run `plugway serve`") from error
    except httpx2.TimeoutException as error:
        raise PlugwayError(f"the server at {url} timed out after {_SECONDS:g} s") from error
    except httpx2.HTTPError as error:
        raise PlugwayError(f"the server at {url} disconnected ({type(error).__name__})") from error
    try:
        document = response.json()
    except ValueError as error:
        raise PlugwayError(f"the server at {url} is not Plugway") from error
    if response.status_code >= 400:
        message = _error_message(document) or f"status {response.status_code}"
        raise PlugwayError(f"the gateway at {url} returned an error: {message}")
    return document


def models(server: ServerOptions, most: int | None = None) -> list[str]:
    """The model ids that the gateway lists, and a count of those beyond `most`; empty on errors."""
    try:
        document = ask(server, "GET", "/v1/models?limit=1000")
    except PlugwayError:
        return []
    rows = cast("Mapping[str, Any]", document).get("data", ()) if document else ()
    ids = [str(row["id"]) for row in rows]
    more = len(ids) - (most or len(ids))
    return [*ids[:most], f"and {more} more: `plugway status --json`"] if more > 0 else ids


def explain_body(source: str | None, model: str | None, stdin_text: str | None) -> bytes:
    """The request to explain: from a file or standard input, else a greeting to `model`."""
    if source is not None and source != "-":
        try:
            text = Path(source).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PlugwayError(f"cannot read `{source}`: {error}") from None
    else:
        text = stdin_text or ""
    if not text.strip():
        if model is None:
            raise PlugwayError("give a request body as a FILE or on standard input, or a `--model`")
        greeting = {"role": "user", "content": "Hello"}
        return json.dumps({"model": model, "max_tokens": 1024, "messages": [greeting]}).encode()
    try:
        body: object = json.loads(text)
    except ValueError as error:
        raise PlugwayError(f"the request body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise PlugwayError("the request body is not a JSON object")
    request = cast("dict[str, object]", body)
    if model is not None:
        request["model"] = model
    return json.dumps(request).encode()


def show(document: object, console: Console, title: str) -> None:
    """Print JSON in readable form: plain values in one table, everything else below it."""
    if not isinstance(document, Mapping):
        console.print(JSON(json.dumps(document)))
        return
    mapping = cast("Mapping[str, object]", document)
    facts = Table.grid(padding=(0, 2))
    for key, value in mapping.items():
        if not isinstance(value, Mapping | list):
            facts.add_row(Text(_label(key), style="bold"), Text(_plain(key, value)))
    console.print(Panel(facts, title=title, title_align="left", expand=False))
    for key, value in mapping.items():
        if isinstance(value, Mapping | list) and value:
            block = _block(cast("object", value))
            console.print(Text(_label(key), style="bold"))
            console.print(block, soft_wrap=isinstance(block, JSON))  # never truncates a line


def _block(value: object) -> RenderableType:
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    if rows and all(_is_flat(row) for row in rows):
        return table(cast("list[Mapping[str, object]]", rows))
    if rows and all(isinstance(row, str) for row in rows):
        return Text("\n".join(f"  {row}" for row in rows))
    return JSON(json.dumps(value))


def _is_flat(row: object) -> bool:
    if not isinstance(row, Mapping):
        return False
    values = cast("Mapping[str, object]", row).values()
    return all(not isinstance(value, Mapping | list) for value in values)


def table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows as a table, with the keys of all rows as columns."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    grid = Table(*[_label(column) for column in columns], box=None, padding=(0, 2))
    for row in rows:
        grid.add_row(*[Text(_plain(column, row.get(column))) for column in columns])
    return grid


def _label(key: str) -> str:
    return key.removesuffix("_seconds").replace("_", " ")


def _plain(key: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_seconds") and isinstance(value, int | float):
        return _duration(value)
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if minutes < 60:
        return f"{minutes} min {int(seconds % 60)} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{days} days {hours % 24} h"


def _error_message(document: object) -> str:
    if not isinstance(document, Mapping):
        return ""
    error = cast("Mapping[str, object]", document).get("error")
    if not isinstance(error, Mapping):
        return ""
    return str(cast("Mapping[str, object]", error).get("message", ""))
