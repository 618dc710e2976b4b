"""Repairs the events of one reply in order: text, calls, the stop reason.

A call that may be incomplete waits for the next event: if the reply was cut off there, the call is
removed. See `_prose` for text, `_tools` for the verdict on calls, `_writer` for the client's
blocks, and `_stream` for retries.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import orjson

from plugway import BackendProtocolError, StreamEvent, as_object, event, new_id
from plugway_tool_repair._blocks import BadCall, Block, Quoted, without_calls
from plugway_tool_repair._ending import DONE, OWN_END, ended_with, fitting, output_tokens
from plugway_tool_repair._native import LEFT_OUT
from plugway_tool_repair._pieces import Calls, Cut, Piece, Text, Unread
from plugway_tool_repair._prose import Prose
from plugway_tool_repair._thought import Thought
from plugway_tool_repair._tools import Toolbox, Verdict
from plugway_tool_repair._writer import Writer
from plugway_wire.events import cut_notice
from plugway_wire.gather import MAX_EVENT_BYTES

_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MAX_ID: Final = 200
_MAX_OPEN: Final = 100
"""Maximum open blocks of a source."""
_MAX_HELD: Final = 2 * MAX_EVENT_BYTES
_HIDDEN: Final = frozenset(("thinking", "redacted_thinking"))


class Repairer(Writer):
    """Converts the events of a source to those for the client."""

    def __init__(
        self,
        toolbox: Toolbox,
        note: Callable[[str], None],
        *,
        rescue: bool,
        leaks: bool,
        model: str,
        most: int = 0,
        stops: bool = False,
        objects: bool = False,
    ) -> None:
        """`most`: maximum tokens of the reply, 0 if unknown. `stops`: the client has stop
        sequences. `objects`: arguments sent as an object are complete."""
        self._toolbox = toolbox
        super().__init__(note, model)
        self._rescue = toolbox if rescue else None
        self._leaks: Counter[str] | None = Counter[str]() if leaks else None
        self._thought = Thought(toolbox) if rescue else None
        self._most, self._stops, self._objects = most, stops, objects
        self._blocks: dict[Any, Block] = {}
        self._waiting: list[Block] = []  # whose call may be incomplete, and the calls after them
        self._rescued: set[tuple[str, bytes]] = set()
        self._ids: set[str] = set()  # of the calls sent so far
        self.calls = 0  # sent so far
        self.reason: object = None
        self.judged = False  # whether bad calls are passed on from now on
        self.cut: str | None = None
        """Name, as far as it is known, of the first call that was cut off and removed."""
        self.repeatable = False
        """Whether there was nothing else, so that the model may be asked for that call again."""
        self.broken = False
        """Whether the reply broke off, so that a call that was cut off stays as text."""
        self.stopped = False
        """Whether a stop sequence may have ended the reply, and the limit did not."""
        self.bad: BadCall | None = None  # the first one, if it precedes all other content
        self.empty = False  # whether the reply ended without content
        self.ended = False

    def feed(self, item: StreamEvent) -> list[StreamEvent]:
        """The events to send now."""
        out: list[StreamEvent] = []
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
            case "ping" if "cut_call" in item.data:
                self._leave_out(str(item.data["cut_call"] or ""))
            case _:
                out.append(item)
        return out

    def drop_open_call(self) -> bool:
        """Drop a call that is incomplete, so that the same call may follow as text. False if
        another one was sent or is held, which that text may repeat."""
        kept = None if self.calls or self._waiting else without_calls(self._blocks)
        self._blocks = self._blocks if kept is None else kept
        return kept is not None

    # ── blocks of the source ─────────────────────────────────────────────────────────────────

    def _start(self, item: StreamEvent, out: list[StreamEvent]) -> None:
        index, content = item.data.get("index"), as_object(item.data.get("content_block"))
        if index in self._blocks:
            self._stop(self._blocks.pop(index), None, out)
        self._release(out, cut=False)
        if len(self._blocks) >= _MAX_OPEN:
            raise BackendProtocolError(f"more than {_MAX_OPEN} blocks are open at once")
        block = Block(item, str(content.get("type", "")))
        block.keep(item)
        self._blocks[index] = block
        self._bounded()
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
                block.arguments.add(part)
                self._bounded()
                block.keep(item)
        else:
            if self._thought is not None and isinstance(thought := delta.get("thinking"), str):
                self._thought.add(thought)
            self._enter(block, out)
            out.append(self._numbered(item))

    def _stop(self, block: Block | None, item: StreamEvent | None, out: list[StreamEvent]) -> None:
        if block is None:
            self.changed = True
            return
        block.closed = item is not None
        if block.kind == "tool_use":
            if item is not None:
                block.keep(item)
            if self._waiting or not block.is_whole(objects=self._objects):
                self._waiting.append(block)
            else:
                self._call(block, out)
        elif block.prose is not None and block.prose.holds_call:
            self._waiting.append(block)
        else:
            self._end(block, item, out, cut=False)

    def _end(
        self, block: Block, item: StreamEvent | None, out: list[StreamEvent], *, cut: bool
    ) -> None:
        """End a block that is not a call."""
        if block.prose is not None:
            self._pieces(block, block.prose.finish(cut=cut), out)
            self._blank = ""
            self.changed = self.changed or self._open is not block
        if self._open is block:
            self._leave(out, item)

    def _release(self, out: list[StreamEvent], *, cut: bool) -> None:
        """Send the waiting blocks, because something followed them, or the reply ended."""
        waiting, self._waiting = self._waiting, []
        for block in waiting:
            if block.kind != "tool_use":
                self._end(block, None, out, cut=cut)
            elif not cut or block.is_whole(objects=self._objects):
                self._call(block, out)
            else:
                self._leave_out(block.name)

    def _leave_out(self, name: str) -> None:
        self.cut = self.cut or name
        self.changed = True
        self._note(f"{self._toolbox.called(name)} was cut off and left out")

    def _bounded(self) -> None:
        """Raises `BackendProtocolError` if the open blocks are too large together."""
        if len(self._blocks) > 1 and sum(b.size for b in self._blocks.values()) > _MAX_HELD:
            raise BackendProtocolError(f"its open blocks hold more than {_MAX_HELD} characters")

    # ── text ─────────────────────────────────────────────────────────────────────────────────

    def _text(
        self, block: Block, text: str, item: StreamEvent | None, out: list[StreamEvent]
    ) -> None:
        assert block.prose is not None
        if item is not None and self._open is block and self.passes(text):
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
                    self._quoted[-1].after.add(piece.text)
                    continue
                self._visible(block, piece.text, out, None)
            elif isinstance(piece, Calls):
                self._rescue_calls(block, piece, out)
            elif isinstance(piece, Cut):
                self._cut_piece(block, piece, out)
            elif isinstance(piece, Unread):
                self._unread(piece)
            else:
                if self._thought is not None:
                    self._thought.add(piece.text)
                self._thinking(piece.text, out)

    def _rescue_calls(self, block: Block, piece: Calls, out: list[StreamEvent]) -> None:
        if self._toolbox.is_quoted(piece.source):
            self._note("a call in the text is kept as text: the result of a tool contains it")
            self._settle(out, real=False, block=block)
            self._visible(block, piece.source, out, None)
            return
        if piece.quoted:
            self._quoted.append(Quoted(piece))
            if sum(len(quoted.piece.source) for quoted in self._quoted) > MAX_EVENT_BYTES:
                raise BackendProtocolError(
                    f"it wrote more than {MAX_EVENT_BYTES} characters of calls in Markdown fences"
                )
            return
        self._settle(out, real=False, commit=True)
        verdicts = [self._toolbox.judge(name, text) for name, text in piece.calls]
        if not piece.sure and any(verdict.problems for verdict in verdicts):
            self._visible(block, piece.source, out, None)
            return
        self._blank = ""
        for verdict in verdicts:
            self._rescued_call(verdict, out)

    def _cut_piece(self, block: Block, piece: Cut, out: list[StreamEvent]) -> None:
        """Handle a call in text that was cut off; if it may not be a call, its text stays."""
        self._settle(out, real=False, commit=True)
        if piece.sure and not self.broken:
            self._leave_out(piece.name)
        else:
            self._visible(block, piece.source, out, None)

    def _unread(self, piece: Unread) -> None:
        if not self.judged and self.bad is None:
            self.bad = BadCall(piece.name, "", ("it cannot be read",), piece.source)
        else:
            self._note(f"{self._toolbox.called(piece.name)} is kept as text: it cannot be parsed")

    def _settle(
        self,
        out: list[StreamEvent],
        *,
        real: bool,
        block: Block | None = None,
        commit: bool = False,
    ) -> None:
        """Decide about calls in a fence: they are calls unless more text follows."""
        if not self._quoted:
            return
        quotes, self._quoted = self._quoted, []
        for quoted in quotes:
            piece = quoted.piece
            verdicts = [self._toolbox.judge(name, text) for name, text in piece.calls]
            if commit and not any(verdict.problems for verdict in verdicts):
                for verdict in verdicts:
                    self._rescued_call(verdict, out)
                continue
            held = block or Block(event("x", content_block={"type": "text", "text": ""}), "text")
            self._visible(held, piece.source + quoted.after.text(), out, None)
        if real and self._open_kind == "text":
            self._leave(out, None)

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    def _rescued_call(self, verdict: Verdict, out: list[StreamEvent]) -> None:
        if self._withheld(verdict, out):
            return
        self._note(f"a call to `{verdict.name}` in the text was converted to a real call")
        self._rescued.add(verdict.key)
        self._write_call(verdict, None, out)

    def _call(self, block: Block, out: list[StreamEvent]) -> None:
        content = as_object(block.start.data.get("content_block"))
        text = block.arguments.text()
        given = content.get("input")
        if not text.strip():
            text = orjson.dumps(given).decode() if given else "{}"
        name = str(content.get("name") or "")
        verdict = self._toolbox.judge(name, text)
        if self._rescued and not verdict.problems and verdict.key in self._rescued:
            self._note(f"the call to `{verdict.name}` was sent twice, as text and as a call")
            self._rescued.discard(verdict.key)
            self.changed = True
            return
        if self._withheld(verdict, out):
            return
        identifier = content.get("id")
        good = (
            isinstance(identifier, str)
            and len(identifier) <= _MAX_ID
            and _ID.fullmatch(identifier) is not None
        )
        free = good and identifier not in self._ids and identifier not in self._toolbox.used_ids
        if verdict.fixes or not free or not block.as_it_came or given != {}:
            kept = identifier if free else None
            self._write_call(verdict, str(kept) if kept else None, out)
            return
        self._ids.add(str(identifier))
        self.calls += 1
        self._enter(block, out)
        out += [self._numbered(item) for item in block.events[1:]]
        if block.closed:
            self._open, self._open_kind = None, ""
        else:
            self._leave(out, None)

    def _withheld(self, verdict: Verdict, out: list[StreamEvent]) -> bool:
        """Whether the call is bad and may be requested again, or is unreadable for clients."""
        if not verdict.problems:
            return False
        if not self.judged and self.bad is None:
            self.bad = BadCall(verdict.name, verdict.arguments, verdict.problems)
            return True
        called, count = self._toolbox.called(verdict.name), len(verdict.problems)
        if not verdict.is_readable:
            self._note(f"{called} left out: its arguments are not a JSON object")
            self._say(LEFT_OUT.format(called[:1].upper() + called[1:]), out)
            return True
        self._note(f"{called} passed on unchanged, with {count} problem{'s'[: count > 1]}")
        return False

    def _write_call(self, verdict: Verdict, identifier: str | None, out: list[StreamEvent]) -> None:
        for fix in verdict.fixes:
            self._note(f"{self._toolbox.called(verdict.name)}: {fix}")
        identifier = identifier or new_id("toolu")
        self._ids.add(identifier)
        self.calls += 1
        block: dict[str, Any] = {"type": "tool_use", "id": identifier, "name": verdict.name}
        self._new("tool_use", {**block, "input": {}}, out)
        delta = {"type": "input_json_delta", "partial_json": verdict.arguments}
        out.append(event("content_block_delta", index=self._index, delta=delta))
        self._leave(out, None)

    def _message_delta(self, item: StreamEvent, out: list[StreamEvent]) -> None:
        self.reason = reason = as_object(item.data.get("delta")).get("stop_reason")
        full = 0 < self._most <= output_tokens(item)
        self.stopped = self._stops and reason in OWN_END - {"tool_use"} and not full
        for index in list(self._blocks):
            self._stop(self._blocks.pop(index), None, out)
        self._release(out, cut=full or self.stopped or reason not in OWN_END)
        self._settle(out, real=True, commit=True)
        self._leave(out, None)
        for mark, count in (self._leaks or {}).items():
            self.changed = True
            self._note(f"removed `{mark}` from the text ({count}x)")
        self._leaks = Counter[str]() if self._leaks is not None else None
        if reason in DONE and self.bad is None and self.cut is None:
            self._end_of_thought(out)
        ending = fitting(reason, self.calls, cut=self.cut is not None and not self.stopped)
        if self.cut is not None and not self.seen & {"text", "tool_use"}:
            self._say(cut_notice(self.cut, str(ending)), out)
        if ending != reason:
            self._note(f"stop_reason changed to {ending}")
        new = ended_with(item, ending)
        self.changed = self.changed or new is not item
        out.append(new)

    def _end_of_thought(self, out: list[StreamEvent]) -> None:
        """Handle a reply with only reasoning: use the calls at its end, or treat it as empty."""
        if self.seen - _HIDDEN:
            return
        for verdict in self._thought.verdicts() if self._thought is not None else ():
            self._rescued_call(verdict, out)
        if not self.calls:
            self.empty = self._index < 0 or not self.judged
            if not self.empty:
                self._note("the reply contains only reasoning")
