"""The same reply in each API, as a stream and complete."""

from __future__ import annotations

import json

import gemini_answers
import responses_answers

from plugway.testing import anthropic_message, anthropic_stream
from plugway_openai_wire.testing import chat_chunks, chat_message

APIS = {
    "messages": "messages",
    "own": "messages",
    "chat": "chat",
    "responses": "responses",
    "gemini": "gemini",
    "ollama": "messages",
}
"""The API of each backend of the stack."""


def event(data, name="", end=b"\n\n"):
    text = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: " + text + end


def streamed(api, text="Hello.", calls=(), thinking=""):
    """The events of a reply, as bytes; `calls` are names and arguments as JSON text, `text` and
    `thinking` a string, or a list of pieces."""
    if api == "messages":
        return [event(data, name) for name, data in _messages(text, calls, thinking)]
    if api == "chat":
        return [*map(event, _chat(text, calls, thinking)), event(b"[DONE]")]
    if api == "responses":
        answer = responses_answers.response(*_items(_joined(text), calls, thinking))
        found = responses_answers.stream(answer, chop=1000)
        if not isinstance(text, str):
            found = list(_in_pieces(found, text))
        return [event(data, data["type"]) for data in found]
    return [event(data, end=b"\r\n\r\n") for data in _gemini(text, calls, thinking)]


def whole(api, text="Hello.", calls=(), thinking=""):
    """The same reply as one JSON value."""
    text = _joined(text)
    if api == "messages":
        pairs = [(name, json.loads(arguments)) for name, arguments in calls]
        return anthropic_message(text, tool_calls=pairs, thinking=_joined(thinking))
    if api == "chat":
        return chat_message(text, tool_calls=_numbered(calls))
    if api == "responses":
        return responses_answers.response(*_items(text, calls, thinking))
    parts = [gemini_answers.text(text), *_gemini_calls(calls)]
    return gemini_answers.piece(*parts, finish="STOP", usage=gemini_answers.USAGE)


def _joined(text):
    return text if isinstance(text, str) else "".join(text)


def _pieces(text):
    return [text] if isinstance(text, str) else list(text)


def _numbered(calls):
    return [(f"call_{number}", *call) for number, call in enumerate(calls)]


def _messages(text, calls, thinking):
    names = [(name, {}) for name, _ in calls]
    arguments = iter([text for _, text in calls])
    for name, data in anthropic_stream(text, tool_calls=names, thinking=thinking):
        delta = data.get("delta", {})
        if delta.get("partial_json") == "{":
            yield name, {**data, "delta": {**delta, "partial_json": next(arguments)}}
        elif delta.get("partial_json") != "}":
            yield name, data


def _chat(text, calls, thinking):
    chunks = chat_chunks("\0", tool_calls=_numbered(calls), thinking=_joined(thinking))
    for chunk in chunks:
        delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
        if delta.get("content") != "\0":
            yield chunk
            continue
        for piece in _pieces(text):
            choice = {**chunk["choices"][0], "delta": {"content": piece}}
            yield {**chunk, "choices": [choice]}


def _items(text, calls, thinking):
    if thinking:
        yield responses_answers.reasoning(_joined(thinking))
    if text:
        yield responses_answers.message(text)
    for number, (name, arguments) in enumerate(calls):
        yield responses_answers.call(name, arguments, call_id=f"call_{number}", id=f"fc_{number}")


def _in_pieces(found, pieces):
    """Deltas of `pieces` instead of the existing ones."""
    told = False
    for data in found:
        if data["type"] != "response.output_text.delta":
            yield data
        elif not told:
            told = True
            for piece in pieces:
                yield {**data, "delta": piece}


def _gemini_calls(calls):
    return [gemini_answers.call(name, json.loads(arguments)) for name, arguments in calls]


def _gemini(text, calls, thinking):
    if thinking:
        yield gemini_answers.piece(gemini_answers.thought(_joined(thinking)))
    for piece in _pieces(text):
        yield gemini_answers.piece(gemini_answers.text(piece))
    parts = _gemini_calls(calls)
    yield gemini_answers.piece(*parts, finish="STOP", usage=gemini_answers.USAGE)
