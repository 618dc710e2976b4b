"""One exchange with a gateway over HTTP: the reply, or why there is none."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any

import httpx2
import orjson

from plugway import as_object

SILENT = (
    "check the model's server, and that `base_url` points to it; if the model is slow, use a "
    "smaller one or raise the time limit"
)
_FIXES = {
    400: "run `plugway explain` to see what is sent",
    401: "give the backend a valid key (`plugway keys test` tries a stored one)",
    402: "the account has no credit left: top it up, or route to another backend",
    403: "use a key that has access to this model, or another model",
    404: "check that its server has this model, the path in `base_url`, and the name under "
    "`models` of the router",
    429: "the server limits this key: wait, or add a fallback to the route",
    503: "start the model's server, or fix `base_url` (`plugway status`)",
    504: SILENT,
    529: "check its server's log; wait if it is busy, or use a smaller model if this one does not "
    "fit",
}
_OF_THE_GATEWAY = (502, 503, 504, 529)
_OTHER_FIX = "check the log of the gateway and of the model's server"


class Refused(Exception):
    """No usable reply: the reason, and the fix."""

    def __init__(self, reason: str, fix: str, status: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix
        self.status = status


@dataclass(slots=True)
class Heard:
    """The events of one stream so far."""

    types: list[str] = field(default_factory=list[str])
    text: str = ""
    thinking: str = ""
    tool: str = ""
    """Name of the first tool call."""
    arguments: str = ""
    """Its input as JSON text, as far as it has been received."""
    stop_reason: str = ""
    error: str = ""
    usage: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def started(self) -> bool:
        """Whether the model has sent any content."""
        return bool(self.text or self.thinking or self.tool)

    @property
    def ended(self) -> bool:
        """Whether the stream is complete."""
        return "message_stop" in self.types

    def take(self, data: Mapping[str, Any]) -> None:
        """Add one event."""
        kind = str(data.get("type", ""))
        self.types.append(kind)
        if kind == "message_start":
            self.usage |= as_object(as_object(data.get("message")).get("usage"))
        elif kind == "content_block_start":
            block = as_object(data.get("content_block"))
            if block.get("type") == "tool_use" and not self.tool:
                self.tool = str(block.get("name", ""))
        elif kind == "content_block_delta":
            delta = as_object(data.get("delta"))
            self.text += str(delta.get("text", ""))
            self.thinking += str(delta.get("thinking", ""))
            self.arguments += str(delta.get("partial_json", ""))
        elif kind == "message_delta":
            self.stop_reason = str(as_object(data.get("delta")).get("stop_reason") or "")
            self.usage |= as_object(data.get("usage"))
        elif kind == "error":
            self.error = str(as_object(data.get("error")).get("message", "an error event"))


class Talk:
    """A client of one gateway."""

    def __init__(self, client: httpx2.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def get(self, path: str) -> Any:
        """The JSON at `path`. Raises `Refused`."""
        try:
            answer = await self._client.get(path)
        except httpx2.HTTPError as error:
            raise self._silent(error) from None
        if answer.status_code != 200:
            raise refused(answer.status_code, answer.content)
        try:
            return orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            raise Refused(f"the server at {self._url} is not Plugway", "fix the port") from None

    @asynccontextmanager
    async def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[AsyncIterator[Heard]]:
        """The state of the stream after each chunk; leaving the block disconnects.

        Raises:
            Refused: no connection, an error status, or a connection that broke off.
        """
        content = orjson.dumps({**body, "stream": True})
        try:
            async with self._client.stream("POST", "/v1/messages", content=content) as answer:
                if answer.status_code != 200:
                    raise refused(answer.status_code, await answer.aread())
                yield _heard(answer)
        except httpx2.HTTPError as error:
            raise self._silent(error) from None

    async def whole(self, body: Mapping[str, Any]) -> Heard:
        """Read the stream to its end. Raises `Refused`."""
        heard = Heard()
        async with self.stream(body) as pieces:
            async for now in pieces:
                heard = now
        return heard

    def _silent(self, error: httpx2.HTTPError) -> Refused:
        if isinstance(error, httpx2.ConnectError):
            return Refused(f"no gateway responds at {self._url}", "run `plugway serve`")
        if isinstance(error, httpx2.TimeoutException):
            return Refused(f"the gateway at {self._url} timed out", SILENT, 504)
        return Refused(f"the reply broke off ({type(error).__name__})", _OTHER_FIX)


@asynccontextmanager
async def talking_to(
    url: str, token: str, seconds: float, tls: SSLContext | None = None
) -> AsyncGenerator[Talk]:
    """A client of the gateway at `url`; `seconds` is the time limit for each chunk, and `tls`
    accepts its certificate (`LocalGateway.tls`)."""
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
    }
    async with httpx2.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=seconds,
        trust_env=False,
        follow_redirects=False,
        verify=tls or not url.startswith("http:"),  # loading certificates takes 40 ms
    ) as client:
        yield Talk(client, url)


def refused(status: int, body: bytes) -> Refused:
    """The error for a status, with the server's message if it sent one.

    If a backend cannot be reached, the gateway's message ends with ` - ` and the fix.
    """
    words = ""
    try:
        words = str(as_object(as_object(orjson.loads(body)).get("error")).get("message", ""))
    except orjson.JSONDecodeError:
        words = ""
    reason, dash, fix = words.rpartition(" - ")
    if dash and status in _OF_THE_GATEWAY:
        return Refused(reason, fix, status)
    return Refused(words or f"status {status}", _FIXES.get(status, _OTHER_FIX), status)


async def _heard(answer: httpx2.Response) -> AsyncIterator[Heard]:
    heard = Heard()
    async for line in answer.aiter_lines():
        if line.startswith("data:"):
            try:
                heard.take(as_object(orjson.loads(line[5:])))
            except orjson.JSONDecodeError:
                raise Refused(
                    "an event of the stream is not JSON", "report this as a bug"
                ) from None
            yield heard
