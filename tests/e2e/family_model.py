"""A model of one family behind a server of Chat Completions, which parses its calls or does not.

What it does next follows from the request (`scripted_model`); how it writes that is the family's
own format. All of it is cut at places that the seed decides.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from plugway.testing import ReceivedRequest, respond, sse
from plugway_openai_wire.testing import USAGE, chunk, data, tool_delta
from plugway_toolcalls import (
    CallArguments,
    CallStart,
    Family,
    OutputParser,
    Part,
    TextDelta,
    ThinkingDelta,
    own_format,
    write_call,
)
from plugway_toolcalls import Tool as KnownTool
from tests.e2e.scripted_model import Asked, Say, ScriptedModel, asked_in_chat

THOUGHT = "First this."


@dataclass
class FamilyModel(ScriptedModel):
    """Writes as `family` writes."""

    family: Family | None = None
    parsed: bool = False
    """The server parses: it gives `tool_calls`. Otherwise all that the model writes is `content`."""
    chance: random.Random = field(default_factory=random.Random)

    def __call__(self, request: ReceivedRequest) -> list[Any]:
        """The script that answers a request, by its path."""
        if not request.path.partition("?")[0].endswith("/chat/completions"):
            return super().__call__(request)
        body = request.json
        asked = asked_in_chat(body)
        text = self.written(self.say(asked))
        if self.parsed:
            deltas = list(self._parsed(text, asked))
        else:
            deltas = [{"content": piece} for piece in self._cut(text)]
        calls = any("tool_calls" in delta for delta in deltas)
        finish = "tool_calls" if calls else "stop"
        if not body.get("stream"):
            return respond(200, _whole(deltas, finish))
        events = [chunk({"role": "assistant", "content": ""}), *map(chunk, deltas)]
        events += [chunk({}, finish), {"id": "chatcmpl-1", "choices": [], "usage": USAGE}]
        sizes = [self.chance.randint(1, 400) for _ in range(50)]
        return sse([*map(data, events), b"data: [DONE]\n\n"], chunk_sizes=sizes)

    def written(self, say: Say) -> str:
        """What the model writes, special tokens included."""
        family = self.family
        assert family is not None
        think, stop = self.chance.random() < 0.5, self.chance.random() < 0.5
        if family.header is not None:
            return _in_channels(family, say, think)
        text = ""
        if think:
            opening, closing = family.reasoning[0]
            text = f"{opening}\n{THOUGHT}\n{closing}\n\n"
        if say.tool is None:
            text += say.text
        else:
            text += say.text if own_format(family).opening else ""  # a bare call comes first
            call = write_call(family, say.tool.name, say.arguments, say.tool.schema)
            text += call.join(family.section)
        return text + (family.stops[0] if stop and family.stops else "")

    def _parsed(self, text: str, asked: Asked) -> Iterator[dict[str, Any]]:
        """What a server makes of the text."""
        assert self.family is not None
        tools = [KnownTool(tool.name, "", tool.schema or {}) for tool in asked.tools.values()]
        parser, index = OutputParser(self.family, tools), -1
        parts: list[Part] = []
        for piece in self._cut(text):
            parts += parser.feed(piece)
        for part in [*parts, *parser.finish()]:
            match part:
                case TextDelta(said):
                    yield {"content": said}
                case ThinkingDelta(said):
                    yield {"reasoning_content": said}
                case CallStart(name):
                    index += 1
                    call_id = self._call_id(name, len(asked.results) + index)
                    yield tool_delta(index, id=call_id, type="function", name=name)
                case CallArguments(fragment):
                    yield from (tool_delta(index, piece) for piece in self._cut(fragment))
                case _:
                    self.problems += [] if type(part).__name__ == "CallEnd" else [repr(part)]

    def _call_id(self, name: str, index: int) -> str:
        assert self.family is not None
        if self.family.call_id == "indexed":
            return f"functions.{name}:{index}"
        return "".join(self.chance.choices("abcdefghijklmnopqrstuvwxyzABCDEF0123456789", k=9))

    def _cut(self, text: str) -> Iterator[str]:
        most, start = self.chance.choice([1, 3, 12, 80]), 0
        while start < len(text):
            end = start + self.chance.randint(1, most)
            yield text[start:end]
            start = end


def _in_channels(family: Family, say: Say, think: bool) -> str:
    """With a header before each part."""
    between = family.separator
    text = f"<|channel|>analysis<|message|>{THOUGHT}<|end|>{between}" if think else ""
    if say.tool is None:
        return f"{text}<|channel|>final<|message|>{say.text}<|return|>"
    preamble = f"<|channel|>commentary<|message|>{say.text}<|end|>{between}"
    return text + preamble + write_call(family, say.tool.name, say.arguments, say.tool.schema)


def _whole(deltas: list[dict[str, Any]], finish: str) -> dict[str, Any]:
    """The deltas as one answer."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    calls: list[dict[str, Any]] = []
    for delta in deltas:
        for name in ("content", "reasoning_content"):
            if name in delta:
                message[name] = message.get(name, "") + delta[name]
        for piece in delta.get("tool_calls", ()):
            if "id" in piece:
                calls.append({"id": piece["id"], "type": "function", "function": piece["function"]})
            else:
                calls[-1]["function"]["arguments"] += piece["function"]["arguments"]
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": finish}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "model": "up", "choices": [choice]}
    return {**answer, "usage": USAGE}
