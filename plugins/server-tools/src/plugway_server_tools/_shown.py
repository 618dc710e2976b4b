"""What the client sees of a reply besides the loop's events: blocks in front, citations, usage."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import orjson

from plugway import Reply, StreamEvent, as_object, event
from plugway_server_tools._calls import Calls
from plugway_server_tools._citations import MAX_TEXT
from plugway_wire.events import collect, replay_block

Block = Mapping[str, Any]


async def shown(
    reply: Reply, calls: Calls, front: Sequence[Block] = (), instead: str = ""
) -> Reply:
    """The reply with `front` before its first block, and what `calls` adds; the text `instead` ends
    it if the model says nothing."""
    if reply.status >= 400:
        return reply
    if reply.is_stream:
        return reply.replace(chunks=None, events=_events(reply.decoded(), calls, front, instead))
    if not front and not calls.requests:
        return reply
    made = await collect(_events(reply.decoded(), calls, front, instead))
    return reply.replace(body=orjson.dumps({**reply.parsed, **made}), made=True)


async def _events(
    source: AsyncIterable[StreamEvent], calls: Calls, front: Sequence[Block], instead: str
) -> AsyncIterator[StreamEvent]:
    texts: dict[Any, list[str]] = {}
    index = len(front)
    async for item in source:
        index += item.type == "content_block_start"
        if as_object(item.data.get("delta")).get("text"):
            instead = ""
        if item.type == "message_delta" and instead:
            for out in replay_block(index, {"type": "text", "text": instead}):
                yield out
        for out in _changed(item, calls, texts):
            yield _moved(out, len(front))
        if item.type == "message_start":
            for at, block in enumerate(front):
                for out in replay_block(at, block):
                    yield out


def _changed(item: StreamEvent, calls: Calls, texts: dict[Any, list[str]]) -> Iterator[StreamEvent]:
    """The event, after the citations of a text that ends with it."""
    data = item.data
    match item.type:
        case "content_block_delta" if calls.requests:
            text = as_object(data.get("delta")).get("text")
            if isinstance(text, str):
                texts.setdefault(data.get("index"), []).append(text)
        case "content_block_stop" if calls.requests:
            whole = "".join(texts.pop(data.get("index"), ()))
            for citation in calls.citations(whole[: MAX_TEXT + 1]):
                delta = {"type": "citations_delta", "citation": citation}
                yield event("content_block_delta", index=data.get("index"), delta=delta)
        case "message_delta" if calls.requests:
            yield StreamEvent(item.type, {**data, "usage": _usage(data.get("usage"), calls)})
            return
        case _:
            pass
    yield item


def _usage(usage: Any, calls: Calls) -> dict[str, Any]:
    """`usage` with the calls that were run (`types/server_tool_usage.py`)."""
    counts = {
        f"{name}_requests": calls.requests.get(name, 0) for name in ("web_search", "web_fetch")
    }
    return {**as_object(usage), "server_tool_use": counts}


def _moved(item: StreamEvent, by: int) -> StreamEvent:
    index = item.data.get("index")
    if not by or not isinstance(index, int):
        return item
    return StreamEvent(item.type, {**item.data, "index": index + by})
