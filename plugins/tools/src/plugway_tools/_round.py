"""One reply of a model, read event by event: hidden calls are taken out, the rest goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from plugway import BackendProtocolError, StreamEvent, as_list, as_object, new_id
from plugway_tools._protocols import ToolResult
from plugway_wire.arguments import object_text, whole_escapes
from plugway_wire.bounds import is_deep
from plugway_wire.events import interrupted, replay_block

MAX_HELD: Final = 8 * 2**20
"""Maximum characters of a reply that are kept for the next request to the model."""
_DELTAS: Final = ("text", "thinking", "partial_json")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
UNKNOWN: Final = "unknown_tool"
"""Stands for a name that no tool can have, and that APIs refuse in a request."""
Block = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hidden:
    """What the loop needs to know about a tool that it runs."""

    parallel: bool = False
    """Whether it may run beside other calls of the same reply."""
    changes: bool = False
    """Whether a call may change something: a request that made one must not be repeated."""


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a hidden tool, as the model made it."""

    id: str
    """Unique among the calls of the loop."""
    name: str
    """At most 64 of `[A-Za-z0-9_-]`."""
    arguments: Mapping[str, Any] | None
    """None if they are not a JSON object; such a call is not run."""
    tool: Hidden
    mixed: bool = False
    """The same reply calls a tool of the client's, so the model is not asked again."""


class Runner(Protocol):
    """Decides which calls are hidden from the client, runs them, and says what the client sees."""

    def hidden(self, name: str) -> Hidden | None:
        """The tool, or None if the client runs it."""
        ...

    def before(self, call: Called) -> Sequence[Block]:
        """Blocks for the client in the place of a call that was made."""
        ...

    async def run(self, call: Called) -> ToolResult:
        """The result for the model. It is cancelled with the request, and at the time limit."""
        ...

    def after(self, call: Called, result: ToolResult) -> Sequence[Block]:
        """Blocks for the client when a call has its result, which may be the loop's refusal."""
        ...

    def last_words(self, why: str) -> str:
        """The sentence that ends a reply for which the model cannot be asked again; `why` is a
        clause."""
        ...


@dataclass(slots=True)
class _Open:
    """An open content block."""

    block: dict[str, Any]
    tool: Hidden | None = None
    """Set for a hidden call, which is sent when it is complete."""
    parts: list[str] = field(default_factory=list[str])


class Round:
    """One reply. What follows a hidden call is held back until its result was shown."""

    def __init__(
        self, runner: Runner, index: int, ids: set[str], *, first: bool, waits: bool
    ) -> None:
        """`index` is that of the client's next block; `ids` are those of earlier calls. With
        `waits`, all blocks are held back."""
        self._runner = runner
        self._first = first
        self._waits = waits
        self._earlier = frozenset(ids)
        self._ids = ids
        self._open: dict[Any, _Open] = {}
        self._moved: dict[Any, int] = {}
        self._held: list[StreamEvent] = []
        self._size = 0
        self.index = index
        self.said: list[dict[str, Any]] = []
        """Blocks of the reply, for the next request to the model."""
        self.calls: list[Called] = []
        self.own_calls = False
        """Whether it calls a tool that the client runs."""
        self.says = False
        """Whether it has more for the client than reasoning and blank text."""
        self.usage: dict[str, Any] = {}
        self.delta: StreamEvent | None = None
        self.ended = False

    @property
    def reason(self) -> Any:
        """The stop reason."""
        delta = as_object(self.delta.data.get("delta")) if self.delta is not None else {}
        return delta.get("stop_reason")

    def feed(self, item: StreamEvent) -> list[StreamEvent]:
        """The events for the client. Raises `BackendError`: the reply is invalid or failed."""
        match item.type:
            case "message_start":
                self.usage |= as_object(as_object(item.data.get("message")).get("usage"))
                return [item] if self._first else []
            case "content_block_start":
                return self._start(item)
            case "content_block_delta":
                return self._grown(item)
            case "content_block_stop":
                return self._stop(item)
            case "message_delta":
                self.delta = item
                new = as_object(item.data.get("usage")).items()
                self.usage |= {key: value for key, value in new if value is not None}
                return []
            case "message_stop":
                self.ended = True
                return []
            case "error":
                raise interrupted(item.data)
            case _:
                return [item]

    def added(self, blocks: Sequence[Block]) -> Iterator[StreamEvent]:
        """The events of blocks that the gateway adds."""
        for block in blocks:
            yield from replay_block(self.index, block)
            self.index += 1

    def release(self, *, texts: bool = True) -> Iterator[StreamEvent]:
        """The events that were held back; without `texts`, text blocks are left out."""
        held, self._held = self._held, []
        left_out = set[Any]()
        for item in held:
            at = item.data.get("index")
            block = as_object(item.data.get("content_block"))
            if not texts and block.get("type") == "text":
                left_out.add(at)
            if at is None or at not in left_out:
                yield self._placed(item)

    def close(self) -> list[StreamEvent] | None:
        """The events that end a reply which broke off; None if it is inside a call."""
        visible = [(at, one) for at, one in self._open.items() if one.tool is None]
        if any("input" in one.block for _, one in visible):
            return None
        ends = (StreamEvent("content_block_stop", _stop_data(at)) for at, _ in visible)
        return [*self.release(), *(self._placed(item) for item in ends)]

    # ── events ───────────────────────────────────────────────────────────────────────────────

    def _start(self, item: StreamEvent) -> list[StreamEvent]:
        block = dict(as_object(item.data.get("content_block")))
        called = block.get("type") == "tool_use"
        tool = self._runner.hidden(str(block.get("name"))) if called else None
        self._open[item.data.get("index")] = _Open(block, tool)
        self.own_calls = self.own_calls or (called and tool is None)
        return [] if tool is not None else self._out(item)

    def _grown(self, item: StreamEvent) -> list[StreamEvent]:
        opened = self._open.get(item.data.get("index"))
        if opened is None:
            raise BackendProtocolError("a delta names a block that is not open")
        delta = as_object(item.data.get("delta"))
        match delta.get("type"):
            case "signature_delta":
                opened.block["signature"] = delta.get("signature")
            case "citations_delta":
                cited = as_list(opened.block.get("citations"))
                opened.block["citations"] = [*cited, delta.get("citation")]
            case _:
                part = next((t for key in _DELTAS if isinstance(t := delta.get(key), str)), "")
                self._hold(len(part))
                opened.parts.append(part)
        return [] if opened.tool is not None else self._out(item)

    def _stop(self, item: StreamEvent) -> list[StreamEvent]:
        opened = self._open.pop(item.data.get("index"), None)
        if opened is None:
            raise BackendProtocolError("a block ends that is not open")
        block, text = opened.block, "".join(opened.parts)
        if opened.tool is not None:
            return self._called(block, opened.tool, text)
        kind = str(block.get("type"))
        if kind in ("text", "thinking"):
            block[kind] = whole = f"{block.get(kind) or ''}{text}"
            if whole.strip() or block.get("signature"):
                self.said.append(block)
                self.says = self.says or kind == "text"
            return self._out(item)
        self.says = self.says or kind != "redacted_thinking"
        if "input" in block:
            block["input"] = _arguments(block, text) or {}
        self.said.append(block)
        return self._out(item)

    def _called(self, block: Block, tool: Hidden, text: str) -> list[StreamEvent]:
        """Take up a hidden call. One whose id this reply has used is the same call once more; ids
        that a server uses again in a later reply are replaced."""
        identifier = str(block.get("id") or new_id("toolu"))
        if identifier in self._ids and identifier not in self._earlier:
            return []
        if identifier in self._earlier:
            identifier = new_id("toolu")
        self._ids.add(identifier)
        arguments = _arguments(block, text)
        name = str(block.get("name"))
        name = name if _NAME.fullmatch(name) else UNKNOWN
        call = Called(identifier, name, arguments, tool)
        made = {"type": "tool_use", "id": identifier, "name": call.name, "input": arguments or {}}
        self.said.append({**block, **made})
        self.calls.append(call)
        return list(self.added(self._runner.before(call)))

    # ── indexes ──────────────────────────────────────────────────────────────────────────────

    def _out(self, item: StreamEvent) -> list[StreamEvent]:
        if not (self.calls or self._waits):
            return [self._placed(item)]
        self._hold(64)
        self._held.append(item)
        return []

    def _placed(self, item: StreamEvent) -> StreamEvent:
        """The event with the client's index of its block."""
        index = item.data.get("index")
        if item.type == "content_block_start":
            self._moved[index] = self.index
            self.index += 1
        moved = self._moved.get(index)
        if moved == index:
            return item
        return StreamEvent(item.type, {**item.data, "index": moved})

    def _hold(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HELD:
            raise BackendProtocolError(f"a reply has more than {MAX_HELD} characters")


def _stop_data(index: Any) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def _arguments(block: Block, text: str) -> dict[str, Any] | None:
    """The arguments of a call; None if they are not a JSON object."""
    given: Any = block.get("input")
    if not text and isinstance(given, dict):
        return as_object(given)
    found = object_text(whole_escapes(text))
    if found is None or is_deep(found.encode()):
        return None
    return as_object(orjson.loads(found))
