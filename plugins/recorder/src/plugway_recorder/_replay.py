"""Sends recorded requests to another model through the gateway, one after the other.

Nothing that comes back is acted on: no tool runs. `_compare` judges the replies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import anyio
import httpx2
import orjson

from plugway import (
    BackendRefused,
    LocalGateway,
    PlugwayError,
    StreamEvent,
    as_list,
    as_object,
    collected,
)
from plugway_endpoints import REPLAY_HEADER
from plugway_recorder._compare import Difference, judge
from plugway_recorder._routes import TURN
from plugway_recorder._turn import SENT_AGAIN
from plugway_upstream_errors import meaning_of
from plugway_wire.sse import Decoder

TRIES: Final = 5
LONGEST_WAIT: Final = 60.0
"""Seconds that are waited for the next try; after a longer `retry-after`, none is made."""
_SECONDS: Final = httpx2.Timeout(30.0, read=900.0)
_FIRST_WAIT: Final = 1.0
_SERVER_TOOLS: Final = ("web_search", "web_fetch", "code_execution", "tool_search", "advisor")
"""Beginnings of the types of tools that a server would run."""
_SERVER_FIELDS: Final = ("mcp_servers", "container")
_HOPELESS: Final = (401, 403, 404)
"""Statuses that every further turn would get, too."""

Result = Literal["same", "different", "unmeasured"]
Pause = Callable[[float], Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a turn."""

    number: int
    result: Result
    difference: Difference | None = None
    why: str = ""
    """Why it could not be measured."""
    free: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    """Parts of the request that were not sent, because a server would run them."""
    seconds: float = 0.0
    first_seconds: float | None = None
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])
    retries: int = 0


class Hopeless(PlugwayError):
    """The target cannot be used, so no further turn is sent."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: Mapping[str, Any]
    """The message, or the error."""
    seconds: float = 0.0
    first_seconds: float | None = None
    raw: bytes = b""
    wait: float | None = None
    served_by: str = ""
    retried: bool = True
    """Whether a client would try again, if the failure may pass."""


class Sender:
    """Sends turns of one conversation to one target."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        target: str,
        conversation: str,
        session: str,
        *,
        sleep: Pause = anyio.sleep,
    ) -> None:
        """`conversation` is the id that the gateway knows it by; `session` one of its own for the
        replay, so that it takes no part in the conversation."""
        self._client = client
        self._target = target
        self._conversation = conversation
        self._session = session
        self._sleep = sleep

    async def turn(self, number: int) -> Mapping[str, Any]:
        """A recorded turn. Raises `Hopeless`: the gateway does not return it."""
        query = {"conversation": self._conversation, "number": number}
        text = ""
        for tries in range(TRIES):
            try:
                response = await self._client.get(TURN, params=query)
            except httpx2.HTTPError:
                text = "no gateway answers"
                await self._sleep(_FIRST_WAIT * 2**tries)
                continue
            document = _object(response.content)
            if response.status_code == 200:
                return document
            text = str(as_object(document.get("error")).get("message"))
            break
        raise Hopeless(text)

    async def send(self, number: int, turn: Mapping[str, Any]) -> Replayed:
        """Send a turn and compare. Limits and failures of the target are retried as clients do.

        Raises `Hopeless`: no turn can be sent to this target.
        """
        body, left_out = sent_body(as_object(turn.get("body")), self._target)
        answer, retries = _Answer(0, {}), 0
        for retries in range(TRIES):
            answer = await self._once(turn, body)
            wait = _FIRST_WAIT * 2**retries if answer.wait is None else answer.wait
            retried = answer.retried and _is_passing(answer.status) and wait <= LONGEST_WAIT
            if not retried or retries + 1 == TRIES:
                break
            await self._sleep(wait)
        done = Replayed(
            number,
            "unmeasured",
            left_out=left_out,
            seconds=round(answer.seconds, 3),
            first_seconds=answer.first_seconds,
            usage=_usage(answer.body),
            retries=retries,
        )
        if answer.status == 200:
            return self._judged(done, turn, answer)
        return _failed(done, answer)

    def _judged(self, done: Replayed, turn: Mapping[str, Any], answer: _Answer) -> Replayed:
        if answer.served_by not in ("", self._target):
            why = f"`{answer.served_by}` answered instead of `{self._target}`"
            raise Hopeless(why)
        judgement = judge(turn, answer.body)
        result: Result = "different" if judgement.difference else "same"
        return replace(done, result=result, difference=judgement.difference, free=judgement.free)

    async def _once(self, turn: Mapping[str, Any], body: Mapping[str, Any]) -> _Answer:
        """One try. Status 0 if the connection failed, 599 if the reply was cut off."""
        kept = as_object(turn.get("headers"))
        headers = {name: str(kept[name]) for name in SENT_AGAIN if name in kept}
        headers |= {
            "content-type": "application/json",
            "plugway-session-id": self._session,
            REPLAY_HEADER: self._conversation,
            "plugway-toolbelt": "off",
        }
        if turn.get("agent"):
            headers["plugway-agent-id"] = str(turn["agent"])
        query = str(turn.get("query") or "")
        path = "/v1/messages" + (f"?{query}" if query else "")
        began = time.monotonic()
        try:
            async with self._client.stream(
                "POST", path, content=orjson.dumps(body), headers=headers
            ) as response:
                return await _read(response, began)
        except httpx2.HTTPError as error:
            status = 0 if isinstance(error, httpx2.ConnectError) else 599
            text = "no gateway answers" if not status else "the reply was cut off"
            return _Answer(status, {"error": {"message": text}})


def sent_body(body: Mapping[str, Any], target: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The recorded body with another model, without what a server would run, and what that was."""
    sent = {**body, "model": f"anthropic/{target}"}
    left_out = [name for name in _SERVER_FIELDS if sent.pop(name, None) is not None]
    tools = as_list(body.get("tools"))
    kept = [tool for tool in tools if not _is_of_server(as_object(tool))]
    left_out += [
        str(as_object(tool).get("name")) for tool in tools if _is_of_server(as_object(tool))
    ]
    if len(kept) < len(tools):
        sent["tools"] = kept
        if not kept:
            del sent["tools"]
            sent.pop("tool_choice", None)
    return sent, tuple(left_out)


def client_of(gateway: LocalGateway) -> httpx2.AsyncClient:
    """The HTTP client for a gateway on this machine."""
    return httpx2.AsyncClient(
        base_url=gateway.url,
        headers={"authorization": f"Bearer {gateway.token}"},
        timeout=_SECONDS,
        trust_env=False,
        verify=gateway.tls or False,  # without TLS, loading certificates would waste 40 ms
    )


async def _read(response: httpx2.Response, began: float) -> _Answer:
    served = _served_by(response.headers.get("plugway-receipt", ""))
    wait = response.headers.get("retry-after", "")
    seconds = float(wait) if wait.replace(".", "", 1).isdigit() else None
    streamed = "text/event-stream" in response.headers.get("content-type", "")
    if response.status_code != 200 or not streamed:
        raw = await response.aread()
        document = _object(raw)
        took = time.monotonic() - began
        retried = response.headers.get("x-should-retry") != "false"
        return _Answer(response.status_code, document, took, None, raw, seconds, served, retried)
    decoder, events, first = Decoder(), list[StreamEvent](), None
    async for chunk in response.aiter_raw():
        found = decoder.feed(chunk)
        if first is None and any(item.type == "content_block_start" for item in found):
            first = round(time.monotonic() - began, 3)
        events += found
    took = time.monotonic() - began
    for item in events:
        if item.type == "error":  # a permanent one, after pings
            error = as_object(item.data.get("error"))
            text = orjson.dumps({"type": "error", "error": error})
            return _Answer(400, {"error": error}, took, first, text, None, served)
    try:
        return _Answer(200, collected(events), took, first, b"", None, served)
    except PlugwayError as error:
        return _Answer(599, {"error": {"message": str(error)}}, took, first, b"", None, served)


def _failed(done: Replayed, answer: _Answer) -> Replayed:
    """The result of a failure: a window that is too small and a request that the target rejects
    count; what passes does not. Raises `Hopeless`."""
    text = str(as_object(answer.body.get("error")).get("message") or f"status {answer.status}")
    if answer.status in _HOPELESS:
        raise Hopeless(text)
    if not answer.status:
        raise Hopeless(f"{text}: it was stopped, or is restarting")
    if _is_passing(answer.status):
        tries = f" after {done.retries + 1} tries" if done.retries else ""
        shown = answer.status if answer.status != 599 else "cut off"
        return replace(done, why=f"{shown}{tries}: {text[:200]}")
    overflow = meaning_of(BackendRefused(answer.status, answer.raw)).kind == "overflow"
    wrong = Difference("window" if overflow else "rejected", text[:300])
    return replace(done, result="different", difference=wrong)


def _is_passing(status: int) -> bool:
    """Whether a failure says nothing about the model: limits, overload, broken connections."""
    return status in (0, 408, 409, 429) or status >= 500


def _is_of_server(tool: Mapping[str, Any]) -> bool:
    return str(tool.get("type") or "").startswith(_SERVER_TOOLS)


def _served_by(receipt: str) -> str:
    """The target in a receipt header, `served-by=cloud/large; …`."""
    return receipt.partition("served-by=")[2].partition(";")[0].strip()


def _usage(body: Mapping[str, Any]) -> Mapping[str, Any]:
    usage = as_object(body.get("usage"))
    names = ("input_tokens", "output_tokens", "cache_read_input_tokens")
    input_tokens, output, read = (usage.get(name) or 0 for name in names)
    written = usage.get("cache_creation_input_tokens") or 0
    return {
        "input_tokens": input_tokens,
        "output_tokens": output,
        "cache_read_tokens": read,
        "cache_creation_tokens": written,
    }


def _object(raw: bytes) -> Mapping[str, Any]:
    try:
        return as_object(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return {}
