"""Reads the text of a reply as it comes: calls and reasoning written into it, and leaks.

What is none of these leaves at once and unchanged.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from plugway_tool_repair import _marks as marks
from plugway_tool_repair._capture import Capture, Found
from plugway_tool_repair._tools import Toolbox

_BARE = re.compile(r"\[?\s*(?:\{\s*(?:\"(?:[a-z_]*(?:\"\s*(?::.*)?)?)?)?)?", re.DOTALL)
_TICKS = re.compile(r"\n|`+|[^\s`]")
_TO = re.compile(r"to=(?:functions\.)?[\w.-]+")
_MAX_HEADER: Final = 300
_MAX_TRIES: Final = 50
"""Openings in one text that turned out to begin no call; after so many no more are looked at."""


@dataclass(frozen=True, slots=True)
class Text:
    """Visible text."""

    text: str


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning that was written as text."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls that were written as text, and that text."""

    calls: tuple[tuple[str, str], ...]
    source: str
    quoted: bool
    """In a Markdown fence after other text: a call only where no more text follows."""
    sure: bool
    """Between marks that stand for nothing but a call."""


Piece = Text | Thinking | Calls


class Prose:
    """One text block."""

    def __init__(self, toolbox: Toolbox | None, leaks: Counter[str] | None) -> None:
        """Without `toolbox` no calls are looked for, without `leaks` none are taken out."""
        self._toolbox = toolbox
        self._leaks = leaks
        self._buffer = ""
        self._capture: Capture | None = None
        self._opening = ""
        self._closes: tuple[str, ...] = ()
        self._fresh = True
        self._begun = False
        self._after_call = False
        self._literal = 0
        self._tries = 0
        self._code = _Code()
        self._opened: set[str] = set()

    @property
    def idle(self) -> bool:
        """Nothing is held."""
        return not self._buffer and self._capture is None and not self._closes

    def plain(self, text: str) -> bool:
        """Whether `text` may pass as it is; it is then taken note of."""
        if not self.idle or self._fresh or marks.FIRST.search(text):
            return False
        self._code.see(text)
        return True

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are certain now."""
        return self._run(text, final=False)

    def finish(self) -> list[Piece]:
        """The rest."""
        return self._run("", final=True)

    def _run(self, text: str, final: bool) -> list[Piece]:
        pieces: list[Piece] = []
        if self._capture is None:
            self._buffer += text
        elif not self._captured(pieces, self._capture, text, final):
            return pieces
        while self._step(pieces, final):
            pass
        return pieces

    def _step(self, pieces: list[Piece], final: bool) -> bool:
        if self._closes:
            return self._think(pieces, final)
        if self._after_call:
            self._drop_closers()
        if self._fresh and (verdict := self._bare(pieces, final)) is not None:
            return verdict
        match = marks.MARK.search(self._buffer, self._literal)
        if match is None or (not final and marks.grows(match[0], self._buffer[match.start() :])):
            keep = 0 if final else marks.held(self._buffer[self._literal :])
            end = len(self._buffer) - keep if match is None else match.start()
            self._say(pieces, end)
            return False
        self._say(pieces, match.start())
        return self._mark(pieces, match[0], final)

    def _say(self, pieces: list[Piece], end: int) -> None:
        text, self._buffer = self._buffer[:end], self._buffer[end:]
        self._literal = max(0, self._literal - end)
        if text:
            self._code.see(text)
            pieces.append(Text(text))
            if not text.isspace():
                self._fresh = self._after_call = False
                self._begun = True

    # ── marks ────────────────────────────────────────────────────────────────────────────────

    def _mark(self, pieces: list[Piece], mark: str, final: bool) -> bool:
        """What stands at the beginning of the buffer is `mark`."""
        if self._code.inside:
            self._say(pieces, len(mark))
        elif mark in marks.THINKING and not self._begun:
            self._buffer = self._buffer[len(mark) :]
            self._closes = (marks.THINKING[mark],)
        elif mark in marks.HEADERS:
            return self._header(pieces, mark, final)
        elif mark in marks.OPENINGS:
            return self._begin(pieces, mark, final)
        else:
            self._leak(pieces, mark)
        return True

    def _leak(self, pieces: list[Piece], mark: str) -> None:
        opener = marks.PAIRED.get(mark, mark.replace("/", "", 1) if "/" in mark else "")
        told = opener in self._opened or mark in self._opened
        if self._leaks is None or told or mark in marks.THINKING or mark in marks.PAIRED.values():
            self._opened.add(mark)
            self._say(pieces, len(mark))
            return
        self._leaks[mark] += 1
        self._buffer = self._buffer[len(mark) :]

    def _header(self, pieces: list[Piece], mark: str, final: bool) -> bool:
        """A header that routes what follows: to a tool, to the reasoning, or to the user."""
        end = self._buffer.find(marks.HEADER_END)
        if end < 0 and not final and len(self._buffer) <= _MAX_HEADER:
            return False
        text = self._buffer[:end]
        if end < 0 or end > _MAX_HEADER:
            self._leak(pieces, mark)
        elif _TO.search(text) and self._toolbox:
            return self._begin(pieces, mark, final)
        else:
            self._buffer = self._buffer[end + len(marks.HEADER_END) :]
            if self._leaks is not None:
                self._leaks[mark] += 1
            if "analysis" in text:
                self._closes = marks.HEADER_CLOSES
        return True

    def _think(self, pieces: list[Piece], final: bool) -> bool:
        found = [(at, c) for c in self._closes if (at := self._buffer.find(c)) >= 0]
        at, close = min(found, default=(len(self._buffer), ""))
        if not close and not final:
            at -= next(
                (n for n in range(min(24, at), 0, -1) if _begins(self._closes, self._buffer[-n:])),
                0,
            )
        text, self._buffer = self._buffer[:at], self._buffer[at:]
        if text:
            pieces.append(Thinking(text))
        if not close:
            return False
        if close not in marks.HEADERS:
            self._buffer = self._buffer[len(close) :]
        self._closes = ()
        return True

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    def _drop_closers(self) -> None:
        """Closing marks that are left over after a call."""
        begun = self._buffer.lstrip()
        while begun.startswith(marks.CLOSERS) and not begun.startswith("```"):
            mark = next(m for m in marks.CLOSERS if begun.startswith(m))
            begun = self._buffer = begun[len(mark) :].lstrip()

    def _bare(self, pieces: list[Piece], final: bool) -> bool | None:
        """A call that stands bare at the beginning; None: there is none."""
        begun = self._buffer.lstrip(" \t\r\n;" if self._after_call else None)
        if not begun:
            return None if final else False
        if not self._toolbox or begun[0] not in "{[" or not _BARE.fullmatch(begun[:60]):
            if begun[0] not in "{[":
                return None
            self._fresh = False
            return None
        self._say(pieces, len(self._buffer) - len(begun))
        self._fresh = False
        return self._begin(pieces, "", final)

    def _begin(self, pieces: list[Piece], opening: str, final: bool) -> bool:
        if not self._toolbox or self._tries >= _MAX_TRIES:
            self._literal = len(opening)
            self._say(pieces, self._literal)
            return True
        self._opening = opening
        self._capture = Capture(opening, self._toolbox)
        text, self._buffer = self._buffer, ""
        return self._captured(pieces, self._capture, text, final)

    def _captured(self, pieces: list[Piece], capture: Capture, text: str, final: bool) -> bool:
        """Whether the text goes on after a call, or after what was none."""
        found = capture.feed(text)
        if found is True and final:
            found = capture.finish()
        if found is True:
            return False
        self._capture = None
        held = capture.text
        if not isinstance(found, Found):
            self._tries += 1
            self._buffer = held
            if self._opening:
                self._say(pieces, len(self._opening))
            return True
        fenced = self._opening.startswith("```")
        source, self._buffer = held[: found.used], held[found.used :]
        quoted = fenced and self._begun
        pieces.append(Calls(found.calls, source, quoted, bool(self._opening) and not fenced))
        self._fresh = self._after_call = True
        return True


class _Code:
    """Whether text is inside of Markdown code."""

    def __init__(self) -> None:
        self._fence = self._inline = False
        self._line_begins = True

    @property
    def inside(self) -> bool:
        return self._fence or self._inline

    def see(self, text: str) -> None:
        if "`" not in text and "\n" not in text:
            self._line_begins = self._line_begins and text.isspace()
            return
        for match in _TICKS.finditer(text):
            token = match[0]
            if token == "\n":
                self._inline, self._line_begins = False, True
                continue
            if token[0] == "`":
                if len(token) >= 3 and self._line_begins and not self._inline:
                    self._fence = not self._fence
                elif not self._fence and len(token) < 3:
                    self._inline = not self._inline
            self._line_begins = False


def _begins(closes: tuple[str, ...], tail: str) -> bool:
    return any(close.startswith(tail) for close in closes)
