"""Parse a reply while it is generated: text, reasoning and tool calls, in chunks of any size.

`_families` has the format of each family; `_spans` finds the end of a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from plugway_toolcalls._call_reader import BARE_HEAD, CallReader
from plugway_toolcalls._calls import MalformedCall
from plugway_toolcalls._families._base import CallFormat, Family
from plugway_toolcalls._markers import Markers, begun_at_end, first_of
from plugway_toolcalls._parts import (
    CallArguments,
    CallEnd,
    CallError,
    CallStart,
    Part,
    TextDelta,
    ThinkingDelta,
)
from plugway_toolcalls._python import BARE_CALL
from plugway_toolcalls._spans import NOT_A_CALL
from plugway_toolcalls._tokens import Memory
from plugway_toolcalls._tools import Tool

Mode = Literal["text", "thinking", "header", "call"]

CUT_OFF: Final = "it was cut off"
_BARE_LIMIT: Final = 80
_HEADER_LIMIT: Final = 300
_BLANKS_LIMIT: Final = 1000
"""Maximum white space that is held back at the end of a text, because a marker may follow."""
_PATIENCE: Final = 20
"""Calls of a reply for which a closing tag is checked for being part of a value."""
_SLICE: Final = 4096
"""Characters that are examined at once, because removing a prefix copies the rest."""


@dataclass(frozen=True, slots=True)
class PendingCall:
    """A call that has started and not ended."""

    opening: str
    """The marker that it started with; empty if there was none."""
    text: str
    """The text since then."""


class OutputParser:
    """Converts the text of one reply to parts. The parts do not depend on the chunks.

    A call is held back until it is complete, so that a faulty one can still be decoded again.
    """

    def __init__(self, family: Family, tools: Iterable[Tool], *, thinking: bool = False) -> None:
        """`tools` are those that may be called. `thinking`: the prompt opened the reasoning."""
        self._family = family
        self._tools = {tool.name: tool for tool in tools}
        self._markers = Markers(family, self._tools)
        self._buffer = ""
        self._mode: Mode = "thinking" if thinking else "text"
        self._closes = tuple(close for _, close in family.reasoning)
        self._fresh = True
        self._callable = True
        self._in_first_header = bool(family.header and family.header.begins) and not thinking
        self._in_first_line = family.recipients is not None and not thinking
        self._opening = ""
        self._gap = ""
        self._joint = ""
        """White space before a marker without meaning, if text stands before it."""
        self._formats: list[CallFormat] = []
        self._name = ""
        self._reader = CallReader(())
        self._memory = Memory()
        self._given = 0
        """Number of characters so far."""
        self._begun = 0
        self._input: list[tuple[str, int]] = []
        """Text that was not examined yet, the last first, each with the index where it starts."""
        self._cut = False
        self.calls = 0
        """Number of complete calls so far."""

    @property
    def mode(self) -> Mode:
        """What the text at the end of the reply so far belongs to."""
        return self._mode

    @property
    def closing(self) -> str:
        """The marker that would end the current reasoning; empty if there is none."""
        if self._mode != "thinking":
            return ""
        own = {close for _, close in self._family.reasoning}
        return next((close for close in self._closes if close in own), "")

    @property
    def pending(self) -> PendingCall | None:
        """The current call, if there is one: constrain the model from here on."""
        if self._mode != "call":
            return None
        return PendingCall(self._opening, self._buffer)

    def feed(self, text: str) -> list[Part]:
        """The parts that are decided after adding `text`."""
        self._input.append((text, 0))
        self._given += len(text)
        return self._run(final=False)

    def call_ended(self) -> list[Part]:
        """The parts of the current call, if a grammar says that it has ended.

        Empty if it is incomplete after all.
        """
        parts: list[Part] = []
        if self._mode == "call":
            reader = CallReader(self._formats, self._name)
            end = reader.find(self._buffer, final=True)
            if end is not None and end == len(self._buffer.rstrip()):
                self._reader = reader
                self._finish_call(parts, end, False)
        return parts

    def finish(self, *, cut: bool = False) -> list[Part]:
        """The rest of the parts. `cut`: the reply was cut off, by a limit or a stop sequence; an
        incomplete call is then a `CallError` with `cut`."""
        self._cut = cut
        return self._run(final=True)

    def _run(self, final: bool) -> list[Part]:
        parts: list[Part] = []
        steps = {
            "text": self._text,
            "thinking": self._thinking,
            "header": self._header,
            "call": self._call,
        }
        while True:
            while self._take():
                while steps[self._mode](parts, False):
                    pass
            if not final:
                return parts
            while steps[self._mode](parts, True):
                pass
            if not self._input:
                return parts

    def _take(self) -> bool:
        """Move more text to the buffer; False if there is none."""
        if not self._input:
            return False
        text, at = self._input.pop()
        end = at + max(_SLICE, len(self._buffer) // 4)
        if end < len(text):
            self._input.append((text, end))
        # Python only extends a string in place if nothing else refers to it.
        buffer, self._buffer = self._buffer, ""
        buffer += text[at:end]
        self._buffer = buffer
        return True

    def _put_back(self) -> None:
        """Examine the buffer again in slices, because it may be as long as a call."""
        if len(self._buffer) > _SLICE:
            self._input.append((self._buffer, 0))
            self._buffer = ""

    # Text

    def _text(self, parts: list[Part], final: bool) -> bool:
        if self._fresh:
            self._buffer = self._buffer.lstrip(" \t\r\n;" if self.calls else None)
            if self._in_first_header:
                return self._first_header(final)
            if self._in_first_line:
                return self._first_line(final)
            bare = self._bare(final)
            if bare is None or bare:
                return bool(bare)
        found = self._markers.search(self._buffer, final)
        end = found if isinstance(found, int) else found.start()
        # White space is held back: it is removed before a marker and at the end.
        text = _before_blanks(self._buffer[:end])
        self._say(parts, text)
        if isinstance(found, int):
            self._buffer = "" if final else self._buffer[len(text) :]
            return False
        self._gap = self._buffer[len(text) : end]
        self._buffer = self._buffer[found.end() :]
        self._open_marker(found[0])
        return True

    def _first_header(self, final: bool) -> bool:
        """Whether the reply begins inside of a header that the prompt has opened."""
        header = self._family.header
        begins = header.begins if header is not None else ()
        begun = self._buffer.startswith(begins)
        if not begun and not final and any(mark.startswith(self._buffer) for mark in begins):
            return False
        self._in_first_header = False
        if begun:
            self._mode, self._opening = "header", ""
        return True

    def _first_line(self, final: bool) -> bool:
        """Whether the reply goes on with the line that the prompt has begun."""
        lines = self._family.recipients
        assert lines is not None
        begun = self._markers.begun_by(lines.opening, self._buffer, final=final)
        if begun is None:
            return False
        self._in_first_line = False
        if begun:
            self._buffer = lines.opening + self._buffer
            self._given += len(lines.opening)
        return True

    def _say(self, parts: list[Part], text: str) -> None:
        if text:
            parts.append(TextDelta(self._joint + text))
            self._fresh, self._joint = False, ""

    def _open_marker(self, marker: str) -> None:
        closes = self._markers.closes_of(marker)
        noise = marker in self._markers.noise and marker not in self._markers.calls
        self._joint = (self._joint or self._gap) if noise and not closes else ""
        if closes:
            self._mode, self._closes, self._fresh = "thinking", closes, True
        elif marker in self._markers.headers:
            self._mode, self._opening = "header", marker
        elif marker in self._markers.calls:
            name = self._markers.names.get(marker, "")
            self._begin_call(marker, self._markers.calls[marker], name)
        elif marker in self._markers.reasoning_ends or marker in self._markers.noise:
            self._fresh = self._callable = True

    def _bare(self, final: bool) -> bool | None:
        """Whether a call without a marker has started; None if more text is needed to decide."""
        formats = [spec for spec in self._family.calls if not spec.opening]
        begun = self._buffer[:1] in {"{", "["}
        if not formats or not self._tools or not begun or not self._callable:
            return False
        python = [spec for spec in formats if spec.kind == "python"]
        named = BARE_CALL.match(self._buffer) if python else None
        if named is not None and named["name"] in self._tools:
            self._callable = False
            self._begin_call("", python)
            return True
        formats = [spec for spec in formats if spec.kind != "python"]
        head = self._buffer[:_BARE_LIMIT].partition(":")
        if not head[1] and len(self._buffer) < _BARE_LIMIT:
            return False if final else None
        self._callable = False
        if BARE_HEAD.fullmatch(head[0] + head[1]) is None:
            return False
        self._begin_call("", formats)
        return True

    # Reasoning and headers

    def _thinking(self, parts: list[Part], final: bool) -> bool:
        if self._fresh:
            self._buffer = self._buffer.lstrip()
        at, close = first_of(self._buffer, self._closes)
        end = at if close else len(self._buffer) - begun_at_end(self._buffer, self._closes, final)
        text = _before_blanks(self._buffer[:end])
        if text:
            parts.append(ThinkingDelta(text))
            self._fresh = False
        self._buffer = self._buffer[at + len(close) if close else len(text) :]
        if close:
            self._mode, self._fresh, self._callable = "text", True, True
            if close in self._markers.headers:
                self._mode, self._opening = "header", close
        elif final:
            self._buffer = ""
        return bool(close)

    def _header(self, parts: list[Part], final: bool) -> bool:
        header = self._family.header
        assert header is not None
        end = self._buffer.find(header.end)
        if end < 0 or end > _HEADER_LIMIT:
            return self._lost_header(parts, final)
        text = self._buffer[:end]
        call = re.search(header.call, text)
        self._mode, self._fresh = "text", True
        self._buffer = self._buffer[end + len(header.end) :]
        if call is not None and self._tools:
            spec = CallFormat("arguments", closing=header.closing, head=r"\s*")
            self._begin_call(self._opening + text + header.end, [spec], call["name"])
        elif re.search(header.thinking, text):
            self._mode, self._closes = "thinking", self._markers.header_ends
        return True

    def _lost_header(self, parts: list[Part], final: bool) -> bool:
        if not final and len(self._buffer) <= _HEADER_LIMIT:
            return False
        self._mode = "text"
        self._say(parts, self._gap + self._opening)
        return True

    # Calls

    def _begin_call(self, opening: str, formats: list[CallFormat], name: str = "") -> None:
        self._mode, self._opening, self._joint = "call", opening, ""
        self._begun += 1
        self._formats, self._name = formats, name
        start = self._given - len(self._buffer) - sum(len(t) - at for t, at in self._input)
        patient = self._begun <= _PATIENCE
        self._reader = CallReader(formats, name, patient=patient, memory=self._memory, start=start)

    def _call(self, parts: list[Part], final: bool) -> bool:
        cut = final and self._cut
        end = self._reader.find(self._buffer, final=final, cut=cut)
        if end is None:
            return False
        if end == NOT_A_CALL:
            self._no_call(parts, final)
        else:
            self._finish_call(parts, end, cut)
        return True

    def _finish_call(self, parts: list[Part], end: int, cut: bool) -> None:
        self._mode, self._fresh, self._callable = "text", True, True
        try:
            calls, error = self._reader.calls(self._buffer[:end], self._tools), ""
        except MalformedCall as malformed:
            calls, error = [], str(malformed)
        text, self._buffer = self._buffer[: self._reader.used], self._buffer[self._reader.used :]
        if error:
            self._fresh = self._callable = False
            self._fail(parts, text, error)
            self._put_back()
            return
        for call in calls:
            self.calls += 1
            parts += [CallStart(call.name), CallArguments(call.arguments), CallEnd()]
        if cut and self._buffer.lstrip().startswith((",", "{")):  # more calls in the same value
            parts.append(CallError(self._buffer, CUT_OFF, cut=True))
            self._buffer = ""
        self._put_back()

    def _no_call(self, parts: list[Part], final: bool) -> None:
        self._mode = "text"
        if self._opening in self._markers.noise and not final:
            self._put_back()
            return
        self._fresh = self._callable = False
        if final and self._opening:
            reason = CUT_OFF if self._cut else "it is not closed or has an unknown format"
            self._fail(parts, self._buffer, reason, cut=self._cut)
            self._buffer = ""
        elif self._opening:
            self._say(parts, self._gap + self._opening)
        self._put_back()

    def _fail(self, parts: list[Part], text: str, reason: str, *, cut: bool = False) -> None:
        if self._opening:
            parts.append(CallError(self._gap + self._opening + text, reason, cut))
        else:
            self._say(parts, text)


def _before_blanks(text: str) -> str:
    """`text` without trailing white space, of which only a limited part is removed."""
    return text[: max(len(text.rstrip()), len(text) - _BLANKS_LIMIT)]
