"""Whole answers as streams of their API, and streams put together to whole answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from plugway import StreamEvent, replay
from plugway.testing import parse_sse, respond, sse
from plugway_wire.events import collect
from tests.matrix.answered import Answer


def as_stream(api: str, answer: Answer) -> list[Any]:
    """The script that streams an answer."""
    match api:
        case "messages":
            return sse([(event.type, dict(event.data)) for event in replay(answer)])
        case "chat":
            chunks = [json.dumps(chunk).encode() for chunk in _chunks(answer)]
            return sse([b"data: %b\n\n" % chunk for chunk in [*chunks, b"[DONE]"]])
        case "responses":
            return sse([(str(data["type"]), data) for data in _events(answer)])
        case _:
            body = b"data: %b\r\n\r\n" % json.dumps(answer).encode()
            return respond(200, body, {"content-type": "text/event-stream"})


def _chunks(answer: Answer) -> Iterable[Answer]:
    (choice,) = answer["choices"]
    message = dict(choice["message"])
    calls = message.get("tool_calls", ())
    if calls:
        message["tool_calls"] = [{"index": n, **call} for n, call in enumerate(calls)]
    head = {"id": answer["id"], "object": "chat.completion.chunk", "created": 1, "model": "m"}
    for delta, finish in ((message, None), ({}, choice["finish_reason"])):
        yield {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    yield {**head, "choices": [], "usage": answer["usage"]}


def _events(answer: Answer) -> Iterable[Answer]:
    yield {"type": "response.created", "response": {**answer, "output": []}}
    for index, item in enumerate(answer["output"]):
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    kind = "incomplete" if answer["status"] == "incomplete" else "completed"
    yield {"type": f"response.{kind}", "response": answer}


def whole_of(dialect: str, body: bytes) -> Answer:
    """The answer that a client has at the end of a stream."""
    if dialect == "chat":
        lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
        return _joined([json.loads(line) for line in lines if line != "[DONE]"])
    if dialect == "gemini":
        return _whole([json.loads(piece[6:]) for piece in body.split(b"\r\n\r\n") if piece])
    found = parse_sse(body)
    if dialect == "responses":
        return found[-1][1]["response"]

    async def events() -> Any:
        for kind, data in found:
            yield StreamEvent(kind, data)

    return _run(events())


def _run(events: Any) -> Answer:
    """`collect` waits for nothing here: it is run to its end at once."""
    made = collect(events)
    try:
        made.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("`collect` waits for something")


def _whole(answers: list[Answer]) -> Answer:
    """The last answer of `streamGenerateContent`, with the parts of all before it."""
    candidates = [answer["candidates"][0] for answer in answers]
    parts = [part for candidate in candidates for part in candidate["content"]["parts"]]
    content = {"role": "model", "parts": parts}
    return {**answers[-1], "candidates": [{**candidates[-1], "content": content}]}


def _joined(chunks: list[Answer]) -> Answer:
    message: dict[str, Any] = {}
    finish, usage = None, None
    for chunk in chunks:
        usage = chunk.get("usage") or usage
        for choice in chunk["choices"]:
            finish = choice["finish_reason"] or finish
            for name, value in choice["delta"].items():
                _add(message, name, value)
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"choices": [choice], "usage": usage}


def _add(message: dict[str, Any], name: str, value: Any) -> None:
    if name == "tool_calls":
        calls = message.setdefault(name, [])
        for piece in value:
            if "id" in piece:
                calls.append({**piece, "function": dict(piece["function"])})
            else:
                function = calls[piece["index"]]["function"]
                function["arguments"] += piece["function"]["arguments"]
    elif isinstance(value, list):
        message.setdefault(name, []).extend(value)
    elif isinstance(value, str) and name != "role":
        message[name] = (message.get(name) or "") + value
    elif value is not None:
        message[name] = value
