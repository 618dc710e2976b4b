"""Output items of Responses, and the events that build them. Pure.

An item's events lack `sequence_number` and `output_index`, which the stream adds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import orjson

from plugway import as_list, as_object
from plugway_openai_api._client_tools import call_of
from plugway_openai_api._envelope import sealed
from plugway_openai_api._tools import Tool, custom_input_of
from plugway_translation import decode_id, parse_arguments

Events = list[dict[str, Any]]
Status = Literal["in_progress", "completed", "incomplete"]


class Item(ABC):
    """One output item under construction."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.begun = False
        """Whether `output_item.added` was sent."""
        self.whole: dict[str, Any] = {}
        """The finished item."""

    @abstractmethod
    def delta(self, delta: Mapping[str, Any]) -> Events:
        """Events for a delta of the Messages API, or for the block that started the item."""

    @abstractmethod
    def end(self, status: Status) -> Events:
        """Events that end the item; sets `whole`."""

    def begin(self) -> Events:
        """Events that announce the item."""
        self.begun = True
        return [{"type": "response.output_item.added", "item": self.shape("in_progress")}]

    @abstractmethod
    def shape(self, status: Status) -> dict[str, Any]:
        """The item in its current state."""

    def done(self, status: Status) -> dict[str, Any]:
        """The item's last event."""
        self.whole = self.shape(status)
        return {"type": "response.output_item.done", "item": self.whole}

    def of(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Build an event about this item."""
        return {"type": f"response.{kind}", "item_id": self.id, **fields}


class MessageItem(Item):
    """A message with one part per text, and an optional refusal."""

    def __init__(self, id_: str) -> None:
        super().__init__(id_)
        self._parts: list[dict[str, Any]] = []
        self._texts: list[str] | None = None
        """Pieces of the open part."""
        self._sources: list[Mapping[str, Any]] = []
        """Sources of the open part."""

    def shape(self, status: Status) -> dict[str, Any]:
        """A `message`."""
        fields: dict[str, Any] = {"id": self.id, "type": "message", "status": status}
        return {**fields, "role": "assistant", "content": list(self._parts)}

    def delta(self, delta: Mapping[str, Any]) -> Events:
        """Add text."""
        text = delta.get("text")
        if not isinstance(text, str) or not text:
            return []
        events: Events = []
        if self._texts is None:
            events += [] if self.begun else self.begin()
            self._texts = []
            events.append(self._at("content_part.added", part=_text("")))
        self._texts.append(text)
        return [*events, self._at("output_text.delta", delta=text, logprobs=[])]

    def cite(self, source: Mapping[str, Any]) -> None:
        """Add a web source (`url`, `title`) to the open part."""
        self._sources.append(source)

    def part_end(self) -> Events:
        """Close the part of a finished text block."""
        if self._texts is None:
            return []
        text, self._texts = "".join(self._texts), None
        place = {"start_index": 0, "end_index": len(text)}
        notes = [{"type": "url_citation", **source, **place} for source in self._sources]
        self._sources = []
        kind = "output_text.annotation.added"
        cited = [self._at(kind, annotation_index=n, annotation=a) for n, a in enumerate(notes)]
        done = self._at("output_text.done", text=text, logprobs=[])
        whole = {**_text(text), "annotations": notes}
        part = self._at("content_part.done", part=whole)
        self._parts.append(whole)
        return [*cited, done, part]

    def refuse(self, why: str) -> Events:
        """Add a refusal with its reason."""
        events = [*self.part_end(), *([] if self.begun else self.begin())]
        part = {"type": "refusal", "refusal": why}
        events += [
            self._at("content_part.added", part={**part, "refusal": ""}),
            self._at("refusal.delta", delta=why),
            self._at("refusal.done", refusal=why),
            self._at("content_part.done", part=part),
        ]
        self._parts.append(part)
        return events

    def end(self, status: Status) -> Events:
        """Complete the message."""
        return [*self.part_end(), self.done(status)]

    def _at(self, kind: str, **fields: Any) -> dict[str, Any]:
        return self.of(kind, content_index=len(self._parts), **fields)


class Reasoning(Item):
    """Thinking: the text as a summary, the signed block in `encrypted_content`."""

    def __init__(self, id_: str, block: Mapping[str, Any], model: str) -> None:
        super().__init__(id_)
        self._block = dict(block)
        self._model = model
        self._texts: list[str] = []
        self._sealed: str | None = None

    def shape(self, status: Status) -> dict[str, Any]:
        """A `reasoning` item."""
        text = "".join(self._texts)
        summary = [_summary(text)] if text and status != "in_progress" else []
        shape: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": summary}
        return {**shape, "encrypted_content": self._sealed, "status": status}

    def delta(self, delta: Mapping[str, Any]) -> Events:
        """Add thinking, or its signature."""
        if mark := delta.get("signature"):
            self._block["signature"] = mark
        text = delta.get("thinking")
        if not isinstance(text, str) or not text:
            return []
        events: Events = []
        if not self._texts:
            events.append(self._at("reasoning_summary_part.added", part=_summary("")))
        self._texts.append(text)
        return [*events, self._at("reasoning_summary_text.delta", delta=text)]

    def end(self, status: Status) -> Events:
        """Complete the item and seal the block."""
        events: Events = []
        if self._texts:
            text = "".join(self._texts)
            self._block["thinking"] = text
            events.append(self._at("reasoning_summary_text.done", text=text))
            events.append(self._at("reasoning_summary_part.done", part=_summary(text)))
        self._sealed = sealed(self._block, self._model)
        return [*events, self.done(status)]

    def _at(self, kind: str, **fields: Any) -> dict[str, Any]:
        return self.of(kind, summary_index=0, **fields)


class Call(Item):
    """A call of a function or of a `custom` tool."""

    def __init__(self, id_: str, block: Mapping[str, Any], tool: Tool) -> None:
        super().__init__(id_)
        self._call_id = decode_id(str(block.get("id")))
        self._tool = tool
        self._pieces: list[str] = []

    def shape(self, status: Status) -> dict[str, Any]:
        """A `function_call` or `custom_tool_call`."""
        custom, tool = self._tool.custom, self._tool
        shape: dict[str, Any] = {"id": self.id, "status": status, "call_id": self._call_id}
        shape["type"] = "custom_tool_call" if custom else "function_call"
        shape["name"] = tool.own
        if tool.namespace:
            shape["namespace"] = tool.namespace
        written = "".join(self._pieces)
        if custom:
            shape["input"] = custom_input_of(written) if written else ""
        else:
            shape["arguments"] = written
        return shape

    def delta(self, delta: Mapping[str, Any]) -> Events:
        """Add arguments."""
        if early := as_object(delta.get("input")):  # some upstreams send it with the start
            text: Any = orjson.dumps(early).decode()
        else:
            text = delta.get("partial_json")
        if not isinstance(text, str) or not text:
            return []
        self._pieces.append(text)
        if self._tool.custom:
            return []
        return [self.of("function_call_arguments.delta", delta=text)]

    def end(self, status: Status) -> Events:
        """Complete the call; missing arguments become an empty object."""
        if self._tool.custom:
            text = custom_input_of("".join(self._pieces))
            events = [self.of("custom_tool_call_input.delta", delta=text)]
            events.append(self.of("custom_tool_call_input.done", input=text))
        else:
            text = "".join(self._pieces) or "{}"
            self._pieces = [text]
            done = {"arguments": text, "name": self._tool.own}
            events = [self.of("function_call_arguments.done", **done)]
        return [*events, self.done(status)]


class TypedCall(Item):
    """A call with its own item type, such as `shell_call`; sent only when complete."""

    def __init__(self, id_: str, block: Mapping[str, Any], kind: str) -> None:
        super().__init__(id_)
        self._call_id = decode_id(str(block.get("id")))
        self.kind = kind
        self._pieces: list[str] = []
        self._call: dict[str, Any] | None = None

    def shape(self, status: Status) -> dict[str, Any]:
        """A `local_shell_call`, `shell_call`, `apply_patch_call` or `tool_search_call`."""
        shape: dict[str, Any] = {"id": self.id, "type": f"{self.kind}_call", "status": status}
        return {**shape, "call_id": self._call_id, **(self._call or {})}

    def begin(self) -> Events:
        """Nothing yet: the item is announced by `end`, once its input is known."""
        return []

    def delta(self, delta: Mapping[str, Any]) -> Events:
        """Add arguments."""
        early = as_object(delta.get("input"))
        text = orjson.dumps(early).decode() if early else delta.get("partial_json")
        if isinstance(text, str):
            self._pieces.append(text)
        return []

    def end(self, status: Status) -> Events:
        """Complete the call. If the input is unreadable, return no events; `begun` stays False."""
        given = parse_arguments("".join(self._pieces))
        self._call = None if given is None else call_of(self.kind, given)
        return [] if self._call is None else [*super().begin(), self.done(status)]


class WebSearch(Item):
    """A web search that ran for the model; sent when its result is known.

    `types/responses/response_function_web_search.py` of the `openai` SDK.
    """

    def __init__(self, id_: str) -> None:
        super().__init__(id_)
        self._pieces: list[str] = []
        self._urls: list[str] = []

    def shape(self, status: Status) -> dict[str, Any]:
        """A `web_search_call`."""
        query = (parse_arguments("".join(self._pieces)) or {}).get("query")
        query = query if isinstance(query, str) else ""
        sources = [{"type": "url", "url": url} for url in self._urls]
        action = {"type": "search", "query": query, "queries": [query], "sources": sources}
        return {"id": self.id, "type": "web_search_call", "status": status, "action": action}

    def begin(self) -> Events:
        """Nothing yet: calls may overlap, and items may not."""
        return []

    def delta(self, delta: Mapping[str, Any]) -> Events:
        """Add arguments."""
        if isinstance(text := delta.get("partial_json"), str):
            self._pieces.append(text)
        return []

    def end(self, status: Status) -> Events:
        """Nothing yet."""
        return []

    def found(self, content: Any) -> Events:
        """All events of the item; `content` is that of its result block."""
        pages = map(as_object, as_list(content))
        self._urls = [url for page in pages if isinstance(url := page.get("url"), str)]
        failed = isinstance(content, dict)
        steps = ("in_progress", "searching", *(() if failed else ("completed",)))
        shown = [self.of(f"web_search_call.{step}") for step in steps]
        last = self.done("completed")
        if failed:
            last["item"]["status"] = "failed"
        return [*super().begin(), *shown, last]


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}
