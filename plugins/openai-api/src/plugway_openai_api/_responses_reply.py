"""Encodes Messages API replies as Responses and their events. Pure except for the clock.

Shapes: `types/responses/response.py` and `response_*_event.py` of the `openai` SDK. A complete
response is built by replaying the stream's events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from plugway import StreamEvent, as_object, new_id, replay
from plugway_openai_api._chat_reply import chat_usage
from plugway_openai_api._client_tools import PREFIXES
from plugway_openai_api._errors import to_openai
from plugway_openai_api._item_store import ItemStore
from plugway_openai_api._items import Call, Item, MessageItem, Reasoning, TypedCall, WebSearch
from plugway_openai_api._reply_notes import ReplyNotes
from plugway_openai_api._tools import ToolBook

_INCOMPLETE: Final[Mapping[str, str]] = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
"""`incomplete_details.reason` by `stop_reason`."""
_ECHOED: Final[Mapping[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Request fields that the response repeats, with defaults for missing ones."""
_FIXED: Final[Mapping[str, Any]] = {
    "background": False,
    "previous_response_id": None,
    "service_tier": "default",
    "store": False,
}


class ResponsesEncoder:
    """Encodes one reply as a response or its events."""

    def __init__(
        self,
        request: Mapping[str, Any],
        tools: ToolBook,
        store: ItemStore | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Finished items are stored in `store`, if the client wants them kept."""
        self._tools = tools
        self._notes = ReplyNotes()
        self.unsaid = self._notes.lines
        """Notes about content that Responses cannot represent."""
        self._store = store
        self._now = now
        echoed = {
            name: default if request.get(name) is None else request[name]
            for name, default in _ECHOED.items()
        }
        # Serialized once: a coding agent's request is long and repeated in three events.
        self._echo = orjson.dumps({**echoed, **_FIXED})[1:]
        self._head: dict[str, Any] = {}
        self._tail = new_id("msg").removeprefix("msg_")
        """Unique part of all ids in this response; servers may reuse ids, even concurrently."""
        self._number = 0
        self._item: Item | None = None
        self._items = 0
        self._searches: dict[str, WebSearch] = {}
        """Searches without a result, by the id of their call."""
        self._output: list[dict[str, Any]] = []
        self._usage: dict[str, Any] = {}
        self._stop_reason = ""
        self._unread = ""
        """Tool of the first call whose input cannot be read."""

    def message(self, message: Mapping[str, Any]) -> bytes:
        """Encode a complete `response`."""
        for event in replay(message):
            if event.type == "message_stop":
                break
            self.event(event)
        self._usage = dict(as_object(message.get("usage")))
        self._close(last=True)
        return self._ending()[1]

    def error(self, status: int, error: Mapping[str, Any], *, streaming: bool) -> bytes:
        """Encode an error; in a stream as `response.failed`, the last event."""
        del status
        failure = to_openai(error)
        if not streaming:
            return orjson.dumps(failure.body())
        pieces = b"" if self._head else self._start({})
        why = {"code": failure.code or "server_error", "message": failure.message}
        return pieces + self._whole_event("response.failed", self._response("failed", error=why))

    def event(self, event: StreamEvent) -> bytes:
        """Encode one event."""
        data = event.data
        match event.type:
            case "content_block_delta":
                return self._sent(self._delta(as_object(data.get("delta"))))
            case "content_block_start":
                return self._open(as_object(data.get("content_block")))
            case "content_block_stop":
                return self._block_end()
            case "message_start":
                return self._start(as_object(data.get("message")))
            case "message_delta":
                return self._end(as_object(data.get("delta")), as_object(data.get("usage")))
            case "message_stop":
                return self._stop()
            case _:
                return b""

    # ── the response around the items ────────────────────────────────────────────────────────

    def _start(self, message: Mapping[str, Any]) -> bytes:
        self._head = {
            "id": f"resp_{self._tail}",
            "object": "response",
            "created_at": int(self._now()),
            "model": message.get("model"),
        }
        self._usage = dict(as_object(message.get("usage")))
        begun = self._response("in_progress")
        created = self._whole_event("response.created", begun)
        return created + self._whole_event("response.in_progress", begun)

    def _end(self, delta: Mapping[str, Any], usage: Mapping[str, Any]) -> bytes:
        self._usage |= {key: value for key, value in usage.items() if value is not None}
        reason = delta.get("stop_reason")
        if isinstance(reason, str):
            self._stop_reason = reason
            self._notes.reason(reason)
        why = as_object(delta.get("stop_details")).get("explanation")
        if reason == "refusal" and isinstance(why, str) and why:
            pieces = self._open_message()
            assert isinstance(self._item, MessageItem)
            return pieces + self._sent(self._item.refuse(why))
        return b""

    def _stop(self) -> bytes:
        pieces = self._close(last=True)
        status, response = self._ending()
        return pieces + self._whole_event(f"response.{status}", response)

    def _ending(self) -> tuple[str, bytes]:
        """Return the final status and the final response."""
        if reason := _INCOMPLETE.get(self._stop_reason, ""):
            return "incomplete", self._response("incomplete", reason)
        if not self._unread:
            return "completed", self._response("completed")
        message = f"The model called `{self._unread}` with unreadable arguments. Retry the request."
        return "failed", self._response(
            "failed", error={"code": "server_error", "message": message}
        )

    def _response(
        self, status: str, reason: str = "", *, error: Mapping[str, Any] | None = None
    ) -> bytes:
        body = {
            **self._head,
            "status": status,
            "error": error,
            "incomplete_details": {"reason": reason} if reason else None,
            "output": self._output,
            "usage": responses_usage(self._usage)
            if status in {"completed", "incomplete"}
            else None,
        }
        if status == "completed":
            body["completed_at"] = int(self._now())
        return orjson.dumps(body)[:-1] + b"," + self._echo

    # ── items ────────────────────────────────────────────────────────────────────────────────

    def _open(self, block: Mapping[str, Any]) -> bytes:
        kind = block.get("type")
        if kind == "web_search_tool_result" and str(block.get("tool_use_id")) in self._searches:
            return self._close() + self._searched(block)
        searches = kind == "server_tool_use" and block.get("name") == "web_search"
        if not searches:
            self._notes.block(block)
        if kind == "text":
            return self._open_message() + self._sent(self._delta(block))
        pieces = self._close()
        if kind in ("thinking", "redacted_thinking"):
            self._item = Reasoning(self._id("rs"), block, str(self._head.get("model")))
        elif kind == "tool_use":
            tool = self._tools.get(block.get("name"))
            if tool.typed:
                self._item = TypedCall(self._id(PREFIXES[tool.typed]), block, tool.typed)
            else:
                self._item = Call(self._id("ctc" if tool.custom else "fc"), block, tool)
        elif searches:
            self._item = self._searches[str(block.get("id"))] = WebSearch(self._id("ws"))
        if self._item is not None:
            pieces += self._sent(self._item.begin())
        return pieces + self._sent(self._delta(block))

    def _searched(self, block: Mapping[str, Any]) -> bytes:
        """The item of a search, whose result has come."""
        item = self._searches.pop(str(block.get("tool_use_id")))
        pieces = self._sent(item.found(block.get("content")))
        self._output.append(item.whole)
        return pieces

    def _delta(self, delta: Mapping[str, Any]) -> list[dict[str, Any]]:
        if delta.get("type") != "citations_delta":
            return self._item.delta(delta) if self._item is not None else []
        source = self._notes.source(as_object(delta.get("citation")))
        if source and isinstance(self._item, MessageItem):
            self._item.cite(source)
        return []

    def _block_end(self) -> bytes:
        if isinstance(self._item, MessageItem):  # more text may follow in the same message
            return self._sent(self._item.part_end())
        return self._close()

    def _open_message(self) -> bytes:
        """Open a message item unless one is open: consecutive texts share a message."""
        if isinstance(self._item, MessageItem):
            return b""
        pieces = self._close()
        self._item = MessageItem(self._id("msg"))
        return pieces

    def _close(self, *, last: bool = False) -> bytes:
        """End the open item; it is incomplete if it is the last one of a truncated reply."""
        item, self._item = self._item, None
        if item is None or not (item.begun or isinstance(item, TypedCall)):
            return b""
        cut = last and self._stop_reason in _INCOMPLETE
        pieces = self._sent(item.end("incomplete" if cut else "completed"))
        if isinstance(item, TypedCall) and not item.begun:
            self._unread = self._unread or item.kind
            return b""
        self._output.append(item.whole)
        if self._store is not None:
            self._store.keep(item.whole)
        return pieces

    def _id(self, prefix: str) -> str:
        self._items += 1
        return f"{prefix}_{self._tail}{self._items - 1:02d}"

    # ── events ───────────────────────────────────────────────────────────────────────────────

    def _sent(self, events: list[dict[str, Any]]) -> bytes:
        return b"".join(map(self._one, events))

    def _one(self, event: dict[str, Any]) -> bytes:
        event["sequence_number"] = self._number
        event["output_index"] = len(self._output)
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))

    def _whole_event(self, kind: str, response: bytes) -> bytes:
        name = kind.encode()
        number, self._number = self._number, self._number + 1
        return b'event: %b\ndata: {"type":"%b","sequence_number":%d,"response":%b}\n\n' % (
            name,
            name,
            number,
            response,
        )


def responses_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """`usage` of Responses; the prompt tokens include cached ones."""
    sums = chat_usage(usage)
    return {
        "input_tokens": sums["prompt_tokens"],
        "input_tokens_details": sums["prompt_tokens_details"],
        "output_tokens": sums["completion_tokens"],
        "output_tokens_details": sums["completion_tokens_details"],
        "total_tokens": sums["total_tokens"],
    }
