"""`plugway status` and `plugway explain`: query the running gateway over HTTP."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from plugway import LocalGateway, PlugwayError
from plugway_commands._show import show

SHOWN_MODELS = 12
"""Most model ids that `plugway status` shows."""

status_app = typer.Typer()
explain_app = typer.Typer()

ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration file.", metavar="FILE")
]
Host = Annotated[str | None, typer.Option("--host", help="Address; overrides the file.")]
Port = Annotated[str | None, typer.Option("--port", help="Port; overrides the file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@status_app.command(epilog="Example: plugway status --json")
def status(
    config: ConfigPath = None, port: Port = None, host: Host = None, as_json: AsJson = False
) -> None:
    """Show what is running, which models it serves, and where the gateway's token is."""
    gateway = LocalGateway.find(config, port, host)
    try:
        state = gateway.ask("GET", "/health")
    except PlugwayError:
        if not as_json or gateway.state() is not None:
            raise
        _print_json({"running": False, "address": gateway.url})
        raise typer.Exit(1) from None
    if as_json:
        listed = _models(gateway)
        _print_json({"running": True, "address": gateway.url, **state, "models": listed})
    else:
        facts = {"address": gateway.url, "token": gateway.token_place, **state}
        listed = _models(gateway, most=SHOWN_MODELS)
        show({**facts, "models": listed}, Console(), "Plugway")


@explain_app.command(epilog="Example: plugway explain request.json --model default")
def explain(
    file: Annotated[
        str | None, typer.Argument(help="Request body; - for standard input.", metavar="FILE")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Request this model instead.")] = None,
    path: Annotated[str, typer.Option(help="Path that the client requests.")] = "/v1/messages",
    config: ConfigPath = None,
    port: Port = None,
    host: Host = None,
    as_json: AsJson = False,
) -> None:
    """Show what the running gateway would do with a request, without doing it.

    Without FILE the request is read from standard input, or is a greeting if `--model` is given.
    """
    gateway = LocalGateway.find(config, port, host)
    piped = file == "-" or (file is None and model is None and not sys.stdin.isatty())
    body = _explain_body(file, model, sys.stdin.read() if piped else None)
    result = gateway.ask("POST", f"{path}/explain", body)
    if as_json:
        _print_json(result)
    else:
        show(result, Console(), "Plugway would do this")


def _models(gateway: LocalGateway, most: int | None = None) -> list[str]:
    """The model ids that the gateway lists, and a count of those beyond `most`; empty on errors."""
    try:
        document = gateway.ask("GET", "/v1/models?limit=1000")
    except PlugwayError:
        return []
    rows = cast("Mapping[str, Any]", document).get("data", ()) if document else ()
    ids = [str(row["id"]) for row in rows]
    more = len(ids) - (most or len(ids))
    return [*ids[:most], f"and {more} more: `plugway status --json`"] if more > 0 else ids


def _explain_body(source: str | None, model: str | None, stdin_text: str | None) -> bytes:
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


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))
