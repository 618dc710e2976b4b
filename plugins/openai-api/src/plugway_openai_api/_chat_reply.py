"""Encodes Messages API replies as Chat completions and chunks. Pure except for the clock.

Shapes: `types/chat/chat_completion.py` and `chat_completion_chunk.py` of the `openai` SDK.
DeepSeek, vLLM and llama.cpp send the text of the thinking in `reasoning_content`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from plugway import StreamEvent, as_list, as_object
from plugway_openai_api._call_signatures import CallSignatures
from plugway_openai_api._errors import to_openai
from plugway_openai_api._reply_notes import ReplyNotes
from plugway_openai_api._tools import (
    Tool,
    ToolBook,
    call_arguments,
    custom_input,
    custom_input_of,
)
from plugway_translation import count, decode_id, totals_of

FINISH: Final[Mapping[str, str]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
"""`finish_reason` by `stop_reason`."""
DONE: Final = b"data: [DONE]\n\n"
_PREFIX: Final = "chatcmpl-"


class ChatEncoder:
    """Encodes one reply as a completion or its chunks."""

    def __init__(
        self, tools: ToolBook, *, include_usage: bool, now: Callable[[], float] = time.time
    ) -> None:
        self._tools = tools
        self._notes = ReplyNotes()
        self.unsaid = self._notes.lines
        """Notes about content that Chat cannot represent."""
        self._include_usage = include_usage
        self._now = now
        self._head = b""
        """Start of every chunk, up to its `choices`."""
        self._tail = b"}\n\n"
        self._usage: dict[str, Any] = {}
        self._finish = ""
        self._calls = 0
        self._signatures = CallSignatures()
        self._block = ""
        """Type of the open block."""
        self._call: Tool | None = None
        self._arguments: list[str] = []
        """Pieces of the open call's arguments, if they are sent only when complete."""
        self._written = False
        """Whether any arguments of the open call were sent."""
        self._length = self._began = 0
        """Characters of text so far, and before the open block."""
        self._sources: list[dict[str, Any]] = []
        """Sources of the open block."""

    # ── complete reply ───────────────────────────────────────────────────────────────────────

    def message(self, message: Mapping[str, Any]) -> bytes:
        """Encode a `chat.completion`."""
        blocks = [as_object(block) for block in as_list(message.get("content"))]
        calls = self._whole_calls(blocks)
        content = _joined(blocks, "text")
        reason = str(message.get("stop_reason"))
        refusal = _refused(message) if reason == "refusal" else None
        if refusal and content.strip() == refusal.strip():
            content = ""
        reply: dict[str, Any] = {"role": "assistant", "content": content}
        if (calls or refusal) and not content:
            reply["content"] = None
        reply["refusal"] = refusal
        if sources := self._all_sources(blocks):
            reply["annotations"] = sources
        self._note(blocks, reason)
        if thought := _joined(blocks, "thinking"):
            reply["reasoning_content"] = thought
        if calls:
            reply["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": reply,
            "logprobs": None,
            "finish_reason": _finish(reason, len(calls)),
        }
        return orjson.dumps(
            {
                "id": _PREFIX + str(message.get("id")),
                "object": "chat.completion",
                "created": int(self._now()),
                "model": message.get("model"),
                "choices": [choice],
                "usage": chat_usage(as_object(message.get("usage"))),
            }
        )

    def _whole_calls(self, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        for block in blocks:
            if block.get("type") == "tool_use":
                calls.append({**self._whole_call(block), **self._signatures.take()})
            else:
                self._signatures.block(block)
        return calls

    def _all_sources(self, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Annotations of all texts, positioned in the joined text."""
        found: list[dict[str, Any]] = []
        at = 0
        for block in blocks:
            if block.get("type") == "text":
                end = at + len(str(block.get("text") or ""))
                sources = map(self._notes.source, map(as_object, as_list(block.get("citations"))))
                found += [_annotation(source, at, end) for source in sources if source]
                at = end
        return found

    def _note(self, blocks: list[dict[str, Any]], reason: str) -> None:
        """Note content that Chat cannot represent."""
        self._notes.reason(reason)
        for block in blocks:
            self._notes.block(block)
            if block.get("type") == "redacted_thinking":
                self._notes.hidden()

    def _whole_call(self, block: Mapping[str, Any]) -> dict[str, Any]:
        tool = self._tools.get(block.get("name"))
        call: dict[str, Any] = {"id": decode_id(str(block.get("id")))}
        if tool.custom:
            call |= {"type": "custom"}
            call["custom"] = {"name": tool.own, "input": custom_input(block.get("input"))}
        else:
            arguments = call_arguments(block.get("input"))
            call |= {"type": "function", "function": {"name": tool.own, "arguments": arguments}}
        return call

    def error(self, status: int, error: Mapping[str, Any], *, streaming: bool) -> bytes:
        """Encode an error; in a stream as a chunk at which the SDK raises."""
        del status
        body = orjson.dumps(to_openai(error).body())
        return b"data: " + body + b"\n\n" if streaming else body

    # ── stream ───────────────────────────────────────────────────────────────────────────────

    def event(self, event: StreamEvent) -> bytes:
        """Encode the chunks for one event."""
        data = event.data
        match event.type:
            case "content_block_delta":
                return self._delta(as_object(data.get("delta")))
            case "content_block_start":
                return self._open(as_object(data.get("content_block")))
            case "content_block_stop":
                return self._close()
            case "message_start":
                return self._start(as_object(data.get("message")))
            case "message_delta":
                return self._end(as_object(data.get("delta")), as_object(data.get("usage")))
            case "message_stop":
                return self._stop()
            case _:
                return b""

    def _start(self, message: Mapping[str, Any]) -> bytes:
        head = {
            "id": _PREFIX + str(message.get("id")),
            "object": "chat.completion.chunk",
            "created": int(self._now()),
            "model": message.get("model"),
        }
        self._head = b"data: " + orjson.dumps(head)[:-1] + b',"choices":'
        self._tail = b',"usage":null}\n\n' if self._include_usage else b"}\n\n"
        self._usage = dict(as_object(message.get("usage")))
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _open(self, block: Mapping[str, Any]) -> bytes:
        self._block = str(block.get("type"))
        self._note([dict(block)], "")
        self._began = self._length
        if self._block != "tool_use":
            self._signatures.block(block)
            return self._delta(block)  # some upstreams send the first text with the start
        tool = self._tools.get(block.get("name"))
        self._call, self._arguments, self._written = tool, [], False
        call: dict[str, Any] = {"index": self._calls, "id": decode_id(str(block.get("id")))}
        self._calls += 1
        if tool.custom:
            call |= {"type": "custom", "custom": {"name": tool.own, "input": ""}}
        else:
            call |= {"type": "function", "function": {"name": tool.own, "arguments": ""}}
        call |= self._signatures.take()
        pieces = self._chunk({"tool_calls": [call]})
        if early := as_object(block.get("input")):
            pieces += self._piece(orjson.dumps(early).decode())
        return pieces

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        match delta.get("type"):
            case "text_delta" | "text" if delta.get("text"):
                self._length += len(delta["text"])
                return self._chunk({"content": delta["text"]})
            case "citations_delta":
                if source := self._notes.source(as_object(delta.get("citation"))):
                    self._sources.append(source)
                return b""
            case "thinking_delta" | "thinking" if delta.get("thinking"):
                return self._chunk({"reasoning_content": delta["thinking"]})
            case "signature_delta":
                self._signatures.block(delta)
                return b""
            case "input_json_delta" if self._block == "tool_use":
                return self._piece(str(delta.get("partial_json") or ""))
            case _:
                return b""

    def _piece(self, text: str) -> bytes:
        if not text or self._call is None:
            return b""
        if self._call.custom:
            self._arguments.append(text)
            return b""
        self._written = True
        return self._call_chunk({"function": {"arguments": text}})

    def _close(self) -> bytes:
        call, self._call, self._block = self._call, None, ""
        sources, self._sources = self._sources, []
        if sources:
            annotations = [_annotation(source, self._began, self._length) for source in sources]
            return self._chunk({"annotations": annotations})
        if call is None:
            return b""
        if call.custom:
            text = custom_input_of("".join(self._arguments))
            return self._call_chunk({"custom": {"input": text}})
        return b"" if self._written else self._call_chunk({"function": {"arguments": "{}"}})

    def _end(self, delta: Mapping[str, Any], usage: Mapping[str, Any]) -> bytes:
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        reason = delta.get("stop_reason")
        if not isinstance(reason, str) or self._finish:
            return b""
        self._finish = _finish(reason, self._calls)
        self._notes.reason(reason)
        why = _refused(delta) if reason == "refusal" else None
        return self._chunk({"refusal": why} if why else {}, self._finish)

    def _stop(self) -> bytes:
        # Some servers end without a reason; clients wait for one, or take the reply for cut off.
        ending = b"" if self._finish else self._chunk({}, _finish("end_turn", self._calls))
        if not self._include_usage:
            return ending + DONE
        usage = orjson.dumps(chat_usage(self._usage))
        return ending + self._head + b'[],"usage":' + usage + b"}\n\n" + DONE

    def _call_chunk(self, call: Mapping[str, Any]) -> bytes:
        return self._chunk({"tool_calls": [{"index": self._calls - 1, **call}]})

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._head + orjson.dumps([choice]) + self._tail


def chat_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """`usage` of Chat; the prompt tokens include cached ones."""
    totals = totals_of(usage)
    details = as_object(usage.get("output_tokens_details"))
    reasoning = count(details.get("thinking_tokens")) or count(details.get("reasoning_tokens"))
    return {
        "prompt_tokens": totals.prompt,
        "completion_tokens": totals.completion,
        "total_tokens": totals.prompt + totals.completion,
        "prompt_tokens_details": {
            "cached_tokens": totals.cached,
            "cache_write_tokens": totals.written,
        },
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def _finish(reason: str, calls: int) -> str:
    found = FINISH.get(reason, "stop")
    return "tool_calls" if calls and found == "stop" and reason != "stop_sequence" else found


def _joined(blocks: list[dict[str, Any]], kind: str) -> str:
    return "".join(str(b.get(kind) or "") for b in blocks if b.get("type") == kind)


def _annotation(source: Mapping[str, Any], start: int, end: int) -> dict[str, Any]:
    """`Annotation` of `types/chat/chat_completion_message.py`."""
    citation = {**source, "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": citation}


def _refused(holder: Mapping[str, Any]) -> str | None:
    """The model's explanation of a refusal, if any."""
    why = as_object(holder.get("stop_details")).get("explanation")
    return why if isinstance(why, str) and why else None
