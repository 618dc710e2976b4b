"""A gateway on a real socket, for tests of plugins.

async with gateway([MyPlugin(options, name="mine"), Echo(EchoOptions(), name="echo")]) as g:
    message = await g.ask("hello")
    events = await g.stream("hello")
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson

from plugway.config.config import parse_config
from plugway.http.app import App
from plugway.http.server import serving
from plugway.http.snapshot import Snapshot
from plugway.plugins.plugin import Plugin
from plugway.types.options import Options
from plugway_wire.json import as_object
from plugway_wire.sse import Decoder

TOKEN = "test-token"


class Gateway:
    """A running gateway with a client."""

    def __init__(self, app: App, port: int, client: httpx2.AsyncClient) -> None:
        self.app = app
        self.port = port
        self.client = client
        """Sends the gateway's token with every request."""

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        """The gateway's token."""
        return TOKEN

    async def post(
        self, body: Mapping[str, Any] | bytes, path: str = "/v1/messages"
    ) -> httpx2.Response:
        """POST a body and return the complete response, whatever its status."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return await self.client.post(
            path, content=raw, headers={"content-type": "application/json"}
        )

    async def ask(self, text: str, **fields: Any) -> dict[str, Any]:
        """Send one user turn and return the message. Raises if the status is not 200."""
        response = await self.post(request_body(text, **fields))
        _raise_for_status(response)
        return as_object(orjson.loads(response.content))

    async def stream(self, text: str, **fields: Any) -> list[tuple[str, dict[str, Any]]]:
        """Send one user turn and return the events as (type, data)."""
        body = orjson.dumps(request_body(text, stream=True, **fields))
        found: list[tuple[str, dict[str, Any]]] = []
        async with self.client.stream(
            "POST", "/v1/messages", content=body, headers={"content-type": "application/json"}
        ) as response:
            if response.is_error:
                await response.aread()
            _raise_for_status(response)
            decoder = Decoder()
            async for chunk in response.aiter_raw():
                found += [(item.type, dict(item.data)) for item in decoder.feed(chunk)]
        return found


def _raise_for_status(response: httpx2.Response) -> None:
    """Raise `httpx2.HTTPStatusError` with what the gateway says, for an error response."""
    if response.is_error:
        message = f"the gateway responded with {response.status_code}: {response.text}"
        raise httpx2.HTTPStatusError(message, request=response.request, response=response)


def request_body(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """Build a small Messages request."""
    messages = [{"role": "user", "content": text}]
    return {"model": "test-model", "max_tokens": 100, "messages": messages, **fields}


def build_plugin(plugin: type[Plugin[Any]], name: str = "", /, **options: Any) -> Plugin[Any]:
    """Create an instance with validated options: `build_plugin(Echo, "echo", delay_seconds=1)`."""
    kind: type[Options] = plugin.options_type()
    return plugin(kind.model_validate(options), name=name)


@asynccontextmanager
async def gateway(plugins: Sequence[Plugin[Any]], **server: Any) -> AsyncGenerator[Gateway]:
    """Serve `plugins`, in this order, on a free port of 127.0.0.1.

    `server` holds settings of the `server` section, e.g. `ping_seconds=0.1`.
    """
    settings = orjson.dumps({"token": TOKEN, **server}).decode()
    config = parse_config(f"server: {settings}\nplugins: []", "test")
    app = App(config, Snapshot(config, plugins))
    async with (
        serving(app) as port,
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {TOKEN}"},
            timeout=30,
            trust_env=False,
            verify=False,  # no TLS: loading certificates takes longer than many tests
        ) as client,
    ):
        yield Gateway(app, port, client)
