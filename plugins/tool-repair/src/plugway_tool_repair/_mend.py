"""Mends the events of one reply, one after the other: text, calls, the reason why it stopped.

Reading text is `_prose`'s business, judging calls `_tools`'; asking again is `_stream`'s.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from plugway import StreamEvent, as_object, event, new_id
from plugway_local_engine import signature
from plugway_tool_repair._blocks import LEFT_OUT, Block, is_complete, is_cut, own_block
from plugway_tool_repair._prose import Calls, Cut, Piece, Prose, Text
from plugway_tool_repair._tools import Toolbox, Verdict

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_DONE: Final = frozenset(("end_turn", "stop", "stop_sequence", "tool_use", None))


@dataclass(frozen=True, slots=True)
class BadCall:
    """A call that cannot be mended."""

    name: str
    arguments: str
    problems: tuple[str, ...]


class Mender:
    """Takes the events of a source, gives those for the client."""

    def __init__(
        self,
        toolbox: Toolbox,
        note: Callable[[str], None],
        *,
        rescue: bool,
        leaks: bool,
        model: str,
    ) -> None:
        self._toolbox = toolbox
        self._note = note
        self._rescue = toolbox if rescue else None
        self._leaks: Counter[str] | None = Counter[str]() if leaks else None
        self._signature = signature("tool-repair", model)
        self._blocks: dict[Any, Block] = {}
        self._index = -1
        self._open: Block | None = None
        self._open_kind = ""
        self._blank = ""
        self._quoted: list[Calls] = []
        self._rescued: set[tuple[str, bytes]] = set()
        self._ids: set[str] = set()
        self._calls = 0
        self.judged = False
        """Bad calls are handed on from now on."""
        self.bad: BadCall | None = None
        """The first bad call, where it stands before all other content."""
        self.empty = False
        """The reply ended without content."""
        self.changed = False
        """Something differs from the source."""
        self.cut: str | None = None
        """The tool of a call that was cut off and left out; empty where its name did not come."""
        self._ending: tuple[Block, StreamEvent | None] | None = None
        """A block that has stopped: whether it was cut off is known from what follows."""
        self.seen: set[str] = set()
        """Kinds of blocks given so far."""
        self.ended = False

    def feed(self, item: StreamEvent) -> list[StreamEvent]:
        """The events to send now."""
        out: list[StreamEvent] = []
        if self._ending is not None and item.type != "ping":
            (block, stop), self._ending = self._ending, None
            self._end(block, stop, out, cut=is_cut(item))
        match item.type:
            case "content_block_delta":
                self._delta(item, out)
            case "content_block_start":
                self._start(item, out)
            case "content_block_stop":
                self._stop(self._blocks.pop(item.data.get("index"), None), item, out)
            case "message_delta":
                self._message_delta(item, out)
            case "message_stop":
                self.ended = True
                out.append(item)
            case _:
                out.append(item)
        return out

    # ── blocks of the source ─────────────────────────────────────────────────────────────────

    def _start(self, item: StreamEvent, out: list[StreamEvent]) -> None:
        index, content = item.data.get("index"), as_object(item.data.get("content_block"))
        if index in self._blocks:
            self._stop(self._blocks.pop(index), None, out)
        block = Block(item, str(content.get("type", "")), events=[item])
        self._blocks[index] = block
        if block.kind == "text":
            block.prose = Prose(self._rescue, self._leaks)
            if content.get("text"):
                self._text(block, str(content["text"]), None, out)
        elif block.kind == "tool_use":
            self._settle(out, real=True)
        else:
            self._settle(out, real=True)
            self._enter(block, out)

    def _delta(self, item: StreamEvent, out: list[StreamEvent]) -> None:
        block = self._blocks.get(item.data.get("index"))
        delta = as_object(item.data.get("delta"))
        if block is None or not delta:
            self.changed = True
            return
        if block.kind == "text" and delta.get("type") == "text_delta":
            if text := delta.get("text"):
                self._text(block, str(text), item, out)
        elif block.kind == "tool_use":
            part = delta.get("partial_json")
            if isinstance(part, str):
                block.parts.append(part)
                block.events.append(item)
        else:
            self._enter(block, out)
            out.append(self._numbered(item))

    def _stop(self, block: Block | None, item: StreamEvent | None, out: list[StreamEvent]) -> None:
        if block is None:
            self.changed = True
        elif block.prose is not None or (block.kind == "tool_use" and not is_complete(block)):
            self._ending = (block, item)
        else:
            self._end(block, item, out, cut=False)

    def _end(
        self, block: Block, item: StreamEvent | None, out: list[StreamEvent], *, cut: bool
    ) -> None:
        if block.prose is not None:
            self._pieces(block, block.prose.finish(cut=cut), out)
            self._blank = ""
            self.changed = self.changed or self._open is not block
        if block.kind == "tool_use":
            block.events += [item] if item is not None else []
            if cut and not is_complete(block):
                self.leave_out(str(as_object(block.start.data.get("content_block")).get("name")))
            else:
                self._call(block, out)
        elif self._open is block:
            self._leave(out, item)

    def leave_out(self, name: str) -> None:
        """Leave out a call that was cut off."""
        self.cut, self.changed = name, True
        called = f"`{name[:80]}`" if name else "a tool"
        self._note(f"the call of {called} was cut off and is left out")

    # ── text ─────────────────────────────────────────────────────────────────────────────────

    def _text(
        self, block: Block, text: str, item: StreamEvent | None, out: list[StreamEvent]
    ) -> None:
        assert block.prose is not None
        quick = item is not None and self._open is block and not self._quoted
        if quick and item is not None and block.prose.plain(text):
            out.append(self._numbered(item))
            return
        pieces = block.prose.feed(text)
        if item is not None and len(pieces) == 1 and pieces[0] == Text(text) and not self._quoted:
            self._visible(block, text, out, item)
        else:
            self._pieces(block, pieces, out)

    def _pieces(self, block: Block, pieces: list[Piece], out: list[StreamEvent]) -> None:
        for piece in pieces:
            if isinstance(piece, Text):
                if piece.text.strip():
                    self._settle(out, real=False, block=block)
                elif self._quoted:
                    last = self._quoted[-1]
                    self._quoted[-1] = replace(last, source=last.source + piece.text)
                    continue
                self._visible(block, piece.text, out, None)
            elif isinstance(piece, Calls):
                self._rescue_calls(block, piece, out)
            elif isinstance(piece, Cut):
                self._cut_piece(block, piece, out)
            else:
                self._thinking(piece.text, out)

    def _cut_piece(self, block: Block, piece: Cut, out: list[StreamEvent]) -> None:
        """What begins like a call; where its marks stand for nothing else, it is no text."""
        if piece.sure:
            self._settle(out, real=False)
            self.leave_out(piece.name)
        else:
            self._visible(block, piece.source, out, None)

    def _visible(
        self, block: Block, text: str, out: list[StreamEvent], item: StreamEvent | None
    ) -> None:
        if self._open is not block and text.isspace():
            self._blank += text
            return
        if self._open is not block:
            if self._blank:
                text, item, self._blank = self._blank + text, None, ""
            self._enter(block, out)
        if item is None:
            delta = {"type": "text_delta", "text": text}
            out.append(event("content_block_delta", index=self._index, delta=delta))
        else:
            out.append(self._numbered(item))

    def _thinking(self, text: str, out: list[StreamEvent]) -> None:
        if not text.strip() and self._open_kind != "thinking":
            return
        if self._open_kind != "thinking":
            self._note("reasoning that stood in the text made a thinking block")
            self._new("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
        delta = {"type": "thinking_delta", "thinking": text}
        out.append(event("content_block_delta", index=self._index, delta=delta))

    def _rescue_calls(self, block: Block, piece: Calls, out: list[StreamEvent]) -> None:
        if piece.quoted:
            self._quoted.append(piece)
            return
        self._settle(out, real=False, commit=True)
        verdicts = [self._toolbox.judge(name, text) for name, text in piece.calls]
        if not piece.sure and any(verdict.problems for verdict in verdicts):
            self._visible(block, piece.source, out, None)
            return
        self._blank = ""
        for verdict in verdicts:
            self._rescued_call(verdict, out)

    def _settle(
        self,
        out: list[StreamEvent],
        *,
        real: bool,
        block: Block | None = None,
        commit: bool = False,
    ) -> None:
        """Decide over calls in a fence: calls, or words that went on."""
        if not self._quoted:
            return
        pieces, self._quoted = self._quoted, []
        for piece in pieces:
            verdicts = [self._toolbox.judge(name, text) for name, text in piece.calls]
            if commit and not any(verdict.problems for verdict in verdicts):
                for verdict in verdicts:
                    self._rescued_call(verdict, out)
                continue
            held = block or own_block()
            self._visible(held, piece.source, out, None)
        if real and self._open_kind == "text":
            self._leave(out, None)

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    def _rescued_call(self, verdict: Verdict, out: list[StreamEvent]) -> None:
        if self._withheld(verdict):
            return
        self._note(f"a call of `{verdict.name}` that stood in the text made a real one")
        self._rescued.add(verdict.key)
        self._write_call(verdict, None, out)

    def _call(self, block: Block, out: list[StreamEvent]) -> None:
        content = as_object(block.start.data.get("content_block"))
        text = "".join(block.parts)
        given = content.get("input")
        if not text.strip():
            text = orjson.dumps(given).decode() if given else "{}"
        name = str(content.get("name") or "")
        verdict = self._toolbox.judge(name, text)
        if not verdict.problems and verdict.key in self._rescued:
            self._note(f"the call of `{verdict.name}` came twice, as text and as a call")
            self._rescued.discard(verdict.key)
            self.changed = True
            return
        if self._withheld(verdict):
            return
        identifier = content.get("id")
        good = isinstance(identifier, str) and _ID.fullmatch(identifier)
        if verdict.fixes or not good or identifier in self._ids or "input" not in content:
            kept = identifier if good and identifier not in self._ids else None
            self._write_call(verdict, str(kept) if kept else None, out)
            return
        self._ids.add(str(identifier))
        self._calls += 1
        self._enter(block, out)
        out += [self._numbered(item) for item in block.events[1:]]
        if block.events[-1].type == "content_block_stop":
            self._open, self._open_kind = None, ""
        else:
            self._leave(out, None)

    def _withheld(self, verdict: Verdict) -> bool:
        """Whether the call is bad and may still be asked for again."""
        if not verdict.problems:
            return False
        if not self.judged and self.bad is None:
            self.bad = BadCall(verdict.name, verdict.arguments, verdict.problems)
            return True
        self._note(f"call of `{verdict.name}` handed on as it is: {verdict.problems[0][:200]}")
        return False

    def _write_call(self, verdict: Verdict, identifier: str | None, out: list[StreamEvent]) -> None:
        for fix in verdict.fixes:
            self._note(f"call of `{verdict.name}`: {fix}")
        identifier = identifier or new_id("toolu")
        self._ids.add(identifier)
        self._calls += 1
        block: dict[str, Any] = {"type": "tool_use", "id": identifier, "name": verdict.name}
        block["input"] = {}
        self._new("tool_use", block, out)
        delta = {"type": "input_json_delta", "partial_json": verdict.arguments}
        out.append(event("content_block_delta", index=self._index, delta=delta))
        self._leave(out, None)

    # ── blocks of the client ─────────────────────────────────────────────────────────────────

    def _enter(self, block: Block, out: list[StreamEvent]) -> None:
        """Have `block` open at the client."""
        if self._open is block:
            return
        self._leave(out, None)
        self._index += 1
        self._open, self._open_kind = block, block.kind
        self.seen.add(block.kind)
        content = as_object(block.start.data.get("content_block"))
        if (block.kind == "text" and content.get("text")) or block.start.type == "x":
            start = {**content, "text": ""}
            out.append(event("content_block_start", index=self._index, content_block=start))
        else:
            out.append(self._numbered(block.start))

    def _new(self, kind: str, content: dict[str, Any], out: list[StreamEvent]) -> None:
        self._leave(out, None)
        self._index += 1
        self._open, self._open_kind = None, kind
        self.seen.add(kind)
        self.changed = True
        out.append(event("content_block_start", index=self._index, content_block=content))

    def _leave(self, out: list[StreamEvent], item: StreamEvent | None) -> None:
        if not self._open_kind:
            return
        if self._open_kind == "thinking" and self._open is None:
            delta = {"type": "signature_delta", "signature": self._signature}
            out.append(event("content_block_delta", index=self._index, delta=delta))
        self._open, self._open_kind = None, ""
        if item is not None:
            out.append(self._numbered(item))
        else:
            out.append(event("content_block_stop", index=self._index))

    def _numbered(self, item: StreamEvent) -> StreamEvent:
        if item.data.get("index") == self._index:
            return item
        return StreamEvent(item.type, {**item.data, "index": self._index})

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _message_delta(self, item: StreamEvent, out: list[StreamEvent]) -> None:
        for index in list(self._blocks):
            self._end(self._blocks.pop(index), None, out, cut=is_cut(item))
        if self._index < 0 and self.cut is not None:
            self._visible(own_block(), LEFT_OUT.format(self.cut or "a tool"), out, None)
        self._settle(out, real=True, commit=True)
        self._leave(out, None)
        for mark, count in (self._leaks or {}).items():
            self.changed = True
            self._note(f"removed `{mark}` from the text ({count}x)")
        self._leaks = Counter[str]() if self._leaks is not None else None
        delta = as_object(item.data.get("delta"))
        reason = delta.get("stop_reason")
        self.empty = self._index < 0 and self.bad is None and reason in _DONE
        wanted = reason
        if self._calls and reason in {"end_turn", "stop", "stop_sequence", None}:
            wanted = "tool_use"
        elif not self._calls and reason == "tool_use":
            wanted = "end_turn"
        if wanted == reason and isinstance(item.data.get("usage"), dict):
            out.append(item)
            return
        self.changed = True
        usage = item.data.get("usage") or {"output_tokens": 0}
        if wanted != reason:
            self._note(f"stop_reason {reason} made {wanted}")
            delta = {**delta, "stop_reason": wanted, "stop_sequence": None}
        out.append(StreamEvent(item.type, {**item.data, "delta": delta, "usage": usage}))
