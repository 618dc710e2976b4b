"""One streamed exchange through the gateway, timed as a client sees it."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ssl import SSLContext
from typing import Any, Final

import anyio
import httpx2
import orjson

from plugway import BackendError, StreamEvent, Usage, as_object
from plugway_bench._bodies import Question
from plugway_wire.sse import Decoder

_TOO_LONG: Final = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")
_ESTIMATED: Final = re.compile(r"\(\d+ tokens ±")
"""How `context-guard` writes a count that is not exact."""
_SERVED: Final = re.compile(r"served-by=([^;]+)")
_COUNTS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
_MOST_BYTES_PER_TOKEN: Final = 16
_NOTICE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Overflow:
    """A prompt that does not fit, by a count of the server or the gateway."""

    tokens: int
    window: int
    about: bool = False
    """Whether the count is an estimate."""

    def __str__(self) -> str:
        about = "about " if self.about else ""
        return f"{about}{self.tokens:,} tokens > {self.window:,}"


@dataclass(slots=True)
class Measured:
    """One exchange. Times are in seconds from sending the request."""

    sent: float = 0.0
    """`time.monotonic()`."""
    left: float = 0.0
    """`time.monotonic()` of the disconnect, if it was cancelled."""
    first_event: float | None = None
    """The start of the first content block."""
    first: float | None = None
    """The first text, thinking or part of a call."""
    last: float | None = None
    status: int = 0
    request_id: str = ""
    served_by: str = ""
    counts: dict[str, int] = field(default_factory=dict[str, int])
    odd: str = ""
    """Why the server's counts cannot be true."""
    characters: int = 0
    """Of text, thinking and arguments."""
    calls: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Name and arguments of each tool call."""
    ended: bool = False
    problem: str = ""
    overflow: Overflow | None = None
    timed_out: bool = False
    own_seconds: float | None = None
    """The gateway's share of the time to the first content."""

    @property
    def usage(self) -> Usage | None:
        """What the server counted; None if it did not, or if it cannot be true."""
        if self.odd or not self.counts:
            return None
        found = self.counts.get
        return Usage(*(found(name, 0) for name in _COUNTS))

    @property
    def streaming(self) -> float:
        """Seconds from the first to the last content; 0 for replies that give no speed, because
        they are too short, come in one piece, failed, or were not counted."""
        usage = self.usage
        if self.problem or usage is None or self.first is None or self.last is None:
            return 0.0
        seconds = self.last - self.first
        return 0.0 if usage.output_tokens < 16 or seconds < 0.005 else seconds

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first token; None for replies that give none."""
        usage, seconds = self.usage, self.streaming
        return (usage.output_tokens - 1) / seconds if usage and seconds else None

    def take(self, event: StreamEvent, now: float) -> None:
        """Add one event of the stream."""
        data = event.data
        if event.type == "content_block_start":
            self.first_event = self.first_event if self.first_event is not None else now
            block = as_object(data.get("content_block"))
            if block.get("type") == "tool_use":
                self.calls.append((str(block.get("name", "")), ""))
        elif event.type == "content_block_delta":
            delta = as_object(data.get("delta"))
            pieces = [delta.get(name) for name in ("text", "thinking", "partial_json")]
            length = sum(len(piece) for piece in pieces if isinstance(piece, str))
            if not length:
                return
            self.characters += length
            self.first = self.first if self.first is not None else now
            self.last = now
            if self.calls and (part := delta.get("partial_json")):
                name, arguments = self.calls[-1]
                self.calls[-1] = (name, f"{arguments}{part}")
        elif event.type == "message_start":
            self._count(as_object(data.get("message")).get("usage"))
        elif event.type == "message_delta":
            self._count(data.get("usage"))
        elif event.type == "message_stop":
            self.ended = True
        elif event.type == "error":
            error = as_object(data.get("error"))
            self.problem = str(error.get("message") or "the stream ended in an error")

    def _count(self, usage: object) -> None:
        for name in _COUNTS:
            value = as_object(usage).get(name)
            if value is not None:
                self.counts[name] = value

    def judge(self, question: Question, size: int) -> None:
        """Set `problem` or `odd` at the end of a stream."""
        if not self.problem and not self.ended:
            self.problem = "the stream ended early"
        if not self.problem and self.first is None and not self.calls:
            self.problem = "the reply is empty"
        most = max(int(question.body["max_tokens"]), self.characters)
        self.odd = _odd(self.counts, most, size)


def _odd(counts: Mapping[str, Any], most: int, size: int) -> str:
    """Why these counts cannot be true; empty if they can."""
    if not counts:
        return "there are none"
    if wrong := [n for n, v in counts.items() if type(v) is not int or v < 0]:
        return f"`{wrong[0]}` is {counts[wrong[0]]!r}"
    output = counts.get("output_tokens", 0)
    if not 0 < output <= most:
        return f"{output:,} tokens of reply, of 1 to {most:,} that are possible"
    prompt = sum(v for n, v in counts.items() if n != "output_tokens")
    if not size // _MOST_BYTES_PER_TOKEN <= prompt <= size:
        return f"{prompt:,} tokens of prompt in {size:,} bytes"
    return ""


class Client:
    """A client of the gateway that measures."""

    def __init__(self, http: httpx2.AsyncClient, seconds: float) -> None:
        self._http = http
        self._seconds = seconds
        """Time limit of an exchange."""

    async def ask(self, question: Question, model: str) -> Measured:
        """Send one request, and read the reply to its end. Failures are in the result."""
        found, content = Measured(), question.encoded(model)
        try:
            with anyio.fail_after(self._seconds):
                await self._read(found, question, content)
        except TimeoutError:
            found.timed_out, found.problem = True, f"no complete reply within {self._seconds:g} s"
        except (httpx2.HTTPError, BackendError) as error:
            found.problem = f"the reply broke off ({type(error).__name__})"
        if not found.problem and not found.overflow:
            found.judge(question, len(content))
            await self._subtract(found)
        return found

    async def cancel(self, question: Question, model: str) -> tuple[Measured, float | None]:
        """Disconnect at the first content: seconds until the connection to the backend was closed,
        or None with a problem. Needs the plugin `bench` in the gateway."""
        found, content = Measured(), question.encoded(model)
        try:
            with anyio.fail_after(self._seconds):
                await self._read(found, question, content, stop=True)
                if found.problem or found.overflow:
                    return found, None
                asked = time.monotonic()
                while not (times := await self._times(found)).get("outcome"):
                    if time.monotonic() - asked > _NOTICE_SECONDS:
                        found.problem = f"not noticed within {_NOTICE_SECONDS:g} s"
                        return found, None
                    await anyio.sleep(0.01)
        except TimeoutError:
            found.timed_out, found.problem = True, f"no reply within {self._seconds:g} s"
            return found, None
        except (httpx2.HTTPError, BackendError) as error:
            found.problem = f"the reply broke off ({type(error).__name__})"
            return found, None
        if times["outcome"] == "completed":
            found.problem = "the reply was complete before it was cancelled"
            return found, None
        return found, float(times["ended"]) - found.left

    async def has_plugin(self) -> bool:
        """Whether the gateway lists the plugin `bench`."""
        return (await self._http.get("/bench/exchanges/none")).status_code == 200

    async def _read(
        self, found: Measured, question: Question, content: bytes, *, stop: bool = False
    ) -> None:
        headers = {"x-claude-code-session-id": question.session}
        decoder = Decoder()
        found.sent = time.monotonic()
        async with self._http.stream(
            "POST", "/v1/messages", content=content, headers=headers
        ) as response:
            found.status = response.status_code
            found.request_id = response.headers.get("plugway-request-id", "")
            served = _SERVED.search(response.headers.get("plugway-receipt", ""))
            found.served_by = served[1] if served else ""
            if response.status_code != 200:
                _refused(found, await response.aread())
                return
            async for chunk in response.aiter_raw():
                now = time.monotonic() - found.sent
                for event in decoder.feed(chunk):
                    found.take(event, now)
                if stop and found.first is not None:
                    found.left = time.monotonic()
                    return

    async def _subtract(self, found: Measured) -> None:
        """Set `own_seconds`, if the gateway can say when it called the backend."""
        if found.problem or found.first_event is None:
            return
        times = await self._times(found)
        if times.get("attempts") == 1 and "first" in times:
            found.own_seconds = found.first_event - (times["first"] - times["sent"])

    async def _times(self, found: Measured) -> Mapping[str, Any]:
        try:
            response = await self._http.get(f"/bench/exchanges/{found.request_id}")
            return as_object(orjson.loads(response.content)) if response.status_code == 200 else {}
        except (httpx2.HTTPError, orjson.JSONDecodeError):
            return {}


def _refused(found: Measured, body: bytes) -> None:
    try:
        said = as_object(as_object(orjson.loads(body)).get("error")).get("message")
    except orjson.JSONDecodeError:
        said = None
    text = str(said or f"status {found.status}")
    if found.status == 400 and (counts := _TOO_LONG.search(text)):
        about = _ESTIMATED.search(text) is not None
        found.overflow = Overflow(int(counts[1]), int(counts[2]), about)
    else:
        found.problem = f"{found.status}: {text[:300]}"


@asynccontextmanager
async def connected(
    url: str, token: str, seconds: float, tls: SSLContext | None = None
) -> AsyncGenerator[Client]:
    """A client of the gateway at `url`; `tls` accepts its certificate."""
    headers = {
        "authorization": f"Bearer {token}",
        "content-type": "application/json",
        "anthropic-version": "2023-06-01",
        "user-agent": "plugway-bench",
    }
    async with httpx2.AsyncClient(
        base_url=url,
        headers=headers,
        timeout=None,  # noqa: S113 - each exchange has its own limit
        trust_env=False,
        follow_redirects=False,
        verify=tls or not url.startswith("http:"),
    ) as http:
        yield Client(http, seconds)
