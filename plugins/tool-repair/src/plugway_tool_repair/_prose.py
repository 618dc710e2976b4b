"""Parse the text of a reply as it arrives: calls and reasoning written as text, and leaks.

Other text is passed on at once, unchanged.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from typing import Final

from plugway_tool_repair._capture import Capture, CutOff, Found
from plugway_tool_repair._code import Code
from plugway_tool_repair._passage import MAX_HEADER, Leaks, Passage
from plugway_tool_repair._pieces import Calls, Cut, Piece, Text, Thinking, Unread
from plugway_tool_repair._tools import Toolbox
from plugway_toolcalls import Memory, marks

_BARE = re.compile(r"\[?\s*(?:\{\s*(?:\"(?:[a-z_]*(?:\"\s*(?::.*)?)?)?)?)?", re.DOTALL)
_BARE_PYTHON = re.compile(r"\[\s*(?P<name>[A-Za-z_][\w.-]*)(?:\(|\Z)")
_MAX_TRIES: Final = 50
"""Maximum openings in one text that turned out not to start a call; later ones are ignored."""
_MAX_WASTE: Final = 2**18
"""Maximum characters that were held for such openings in total, because each is examined again;
later openings are ignored."""
_MAX_CALLS: Final = 2000
"""Maximum calls of a text; later ones stay text, because each costs as much as a long text."""
_PATIENCE: Final = 20
"""Calls of a text for which a closing tag is checked for being part of a value."""
_SLICE: Final = 4096
"""Characters that are examined at once, because removing a prefix copies the rest."""
_MOST_QUOTED: Final = 4000
"""Characters of an unreadable call that are shown to the model."""
_BLANKS: Final = 1000
"""White space before a bare call, or after a call, that is held back."""


class Prose:
    """One text block."""

    def __init__(self, toolbox: Toolbox | None, leaks: Counter[str] | None) -> None:
        """Without `toolbox`, calls are not searched; without `leaks`, no leaks are removed."""
        self._toolbox = toolbox
        self._leaks, self._counts = Leaks(leaks), leaks
        self._buffer = ""
        self._input: list[tuple[str, int]] = []
        """Text that was not examined yet, the last first, each with the index where it starts."""
        self._capture: Capture | None = None
        self._opening = ""
        self._thinking = ""
        self._closes: tuple[str, ...] = ()
        """The marker that began the reasoning, unless a header did, and those that may end it."""
        self._fresh = True
        self._begun = False
        self._after_call = False
        self._tries = self._begun_calls = 0
        self._waste = 0
        self._unread = False
        """Whether a call could not be read, which may hold all that looks like a call after it."""
        self._cut = False
        self._code = Code()
        self._memory = Memory()
        self._given = 0
        """Number of characters so far."""

    @property
    def idle(self) -> bool:
        """Whether nothing is held."""
        return not self._buffer and self._capture is None and not self._closes

    def plain(self, text: str) -> bool:
        """Whether `text` may pass unchanged; if so, it is recorded."""
        if self._fresh or self._buffer or self._capture is not None or self._closes:
            return False
        if marks.FIRST.search(text) and (marks.MARK.search(text) or marks.held(text)):
            return False
        self._code.see(text)
        return True

    @property
    def holds_call(self) -> bool:
        """Whether the held text starts like a call."""
        return self._capture is not None or self._buffer.startswith(marks.HEADERS)

    def feed(self, text: str) -> list[Piece]:
        """The pieces that are decided now.

        Raises:
            BackendProtocolError: a possible call is longer than `MAX_CALL`.
        """
        self._input.append((text, 0))
        self._given += len(text)
        return self._run(final=False)

    def finish(self, *, cut: bool = False) -> list[Piece]:
        """The rest. `cut`: the reply was cut off, so unclosed calls are incomplete."""
        self._cut = cut
        return self._run(final=True)

    def _run(self, final: bool) -> list[Piece]:
        pieces: list[Piece] = []
        while True:
            while self._input:
                self._look(pieces, self._next())
            if not final:
                return pieces
            if self._capture is not None:
                self._captured(pieces, self._capture, "", final=True)
            while self._capture is None and self._step(pieces, final=not self._input):
                pass
            if not self._input and self._capture is None:
                return pieces

    def _next(self) -> str:
        """More text: as much as has been held for a call, otherwise little."""
        text, at = self._input.pop()
        end = at + (max(_SLICE, len(self._capture.text) // 4) if self._capture else _SLICE)
        if end < len(text):
            self._input.append((text, end))
        return text[at:end]

    def _look(self, pieces: list[Piece], text: str) -> None:
        if self._capture is None:
            self._buffer += text
        elif not self._captured(pieces, self._capture, text, final=False):
            return
        while self._capture is None and self._step(pieces, final=False):
            if len(self._buffer) > 2 * _SLICE:
                self._input.append((self._buffer, 0))
                self._buffer = ""

    def _step(self, pieces: list[Piece], final: bool) -> bool:
        if self._closes:
            return self._think(pieces, final)
        if self._after_call:
            self._drop_closers()
            if not final and self._may_close():
                return False
        if self._fresh and (verdict := self._bare(pieces, final)) is not None:
            return verdict
        mark = self._scan(pieces, final)
        return mark is not None and (not mark or self._mark(pieces, mark, final))

    def _scan(self, pieces: list[Piece], final: bool) -> str | None:
        """Pass on the text before a marker that begins something, which is then at the start of the
        buffer, without leaks; None: more text is needed, empty: look at the start again."""
        passage = Passage(self._buffer, self._code, self._leaks, final=final)
        blank = self._fresh or self._after_call
        found = passage.read(begun=self._begun, may_call=self._may_call, blank=blank)
        text, end = passage.end()
        self._buffer = self._buffer[end:]
        self._said(pieces, text)
        return found

    def _say(self, pieces: list[Piece], end: int) -> None:
        if end:
            text, self._buffer = self._buffer[:end], self._buffer[end:]
            self._code.see(text)
            self._said(pieces, text)

    def _said(self, pieces: list[Piece], text: str) -> None:
        if text:
            pieces.append(Text(text))
            if not text.isspace():
                self._fresh = self._after_call = False
                self._begun = True

    # ── markers ──────────────────────────────────────────────────────────────────────────────

    @property
    def _may_call(self) -> bool:
        """Whether calls are looked for."""
        little = self._tries < _MAX_TRIES and self._waste < _MAX_WASTE
        allowed = bool(self._toolbox) and not self._unread
        return allowed and little and self._begun_calls < _MAX_CALLS

    def _mark(self, pieces: list[Piece], mark: str, final: bool) -> bool:
        """Handle `mark` at the start of the buffer, which begins something."""
        if mark in marks.HEADERS:
            return self._header(pieces, mark, final)
        if mark not in marks.THINKING:
            return self._begin(pieces, mark, final)
        self._buffer = self._buffer[len(mark) :]
        self._thinking, self._closes = mark, (marks.THINKING[mark],)
        return True

    def _leak(self, pieces: list[Piece], mark: str) -> None:
        end = marks.end_of_run(mark, self._buffer, 0)
        if self._leaks.take(mark, end // len(mark)):
            self._buffer = self._buffer[end:]
        else:
            self._say(pieces, end)

    def _header(self, pieces: list[Piece], mark: str, final: bool) -> bool:
        """A header that routes the following text: to a tool, to the reasoning, or to the user."""
        end = self._buffer.find(marks.HEADER_END, 0, MAX_HEADER + len(marks.HEADER_END))
        if end < 0 and not final and len(self._buffer) <= MAX_HEADER:
            return False
        text = self._buffer[: end if end >= 0 else MAX_HEADER]
        if end < 0 and self._cut and (to := marks.TO.search(text)) and self._toolbox:
            pieces.append(Cut(to["name"], self._buffer, sure=True))
            self._buffer = ""
        elif end < 0 or end > MAX_HEADER:
            self._leak(pieces, mark)
        elif marks.TO.search(text) and self._toolbox:
            return self._begin(pieces, mark, final)
        else:
            self._buffer = self._buffer[end + len(marks.HEADER_END) :]
            if self._counts is not None:
                self._counts[mark] += 1
            if "analysis" in text:
                self._closes = marks.HEADER_CLOSES
        return True

    def _think(self, pieces: list[Piece], final: bool) -> bool:
        search, at, said = _closing(self._closes).search, 0, list[str]()
        while found := search(self._buffer, at):
            said.append(self._buffer[at : found.start()])
            at = found.start() if found[0] in marks.HEADERS else found.end()
            again = self._thinks_again(at)
            if again < 0:
                break
            at = again
        else:
            said.append(self._thought(at, final))
            at += len(said[-1])
        self._buffer = self._buffer[at:]
        if text := "".join(said):
            pieces.append(Thinking(text))
        if found is not None:
            self._closes = ()
        return found is not None

    def _thought(self, at: int, final: bool) -> str:
        """The reasoning from `at` on, without what may begin a marker that ends it."""
        end = len(self._buffer)
        if not final:
            sizes = range(min(24, end - at), 0, -1)
            end -= next((n for n in sizes if _begins(self._closes, self._buffer[-n:])), 0)
        return self._buffer[at:end]

    def _thinks_again(self, at: int) -> int:
        """Where more reasoning begins that directly follows at `at`; negative: it does not."""
        buffer = self._buffer
        if self._closes is not marks.HEADER_CLOSES:
            again = not self._begun and buffer.startswith(self._thinking, at)
            return at + len(self._thinking) if again else -1
        mark = next((mark for mark in marks.HEADERS if buffer.startswith(mark, at)), "")
        end = buffer.find(marks.HEADER_END, at, at + MAX_HEADER + len(marks.HEADER_END))
        text = buffer[at : max(end, at)]
        if not mark or "analysis" not in text or "to=" in text:
            return -1
        if self._counts is not None:
            self._counts[mark] += 1
        return end + len(marks.HEADER_END)

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    def _drop_closers(self) -> None:
        """Remove closing markers that remain after a call."""
        begun = self._buffer.lstrip()
        while begun.startswith(marks.CLOSERS) and not begun.startswith("```"):
            mark = next(m for m in marks.CLOSERS if begun.startswith(m))
            begun = self._buffer = begun[len(mark) :].lstrip()

    def _may_close(self) -> bool:
        """Whether the buffer may begin such a marker, the rest of which has not come yet."""
        begun = self._buffer.lstrip()
        return begun[:1] == "<" and any(
            len(begun) < len(mark) and mark.startswith(begun) for mark in marks.CLOSERS
        )

    def _bare(self, pieces: list[Piece], final: bool) -> bool | None:
        """Handle a call without an opening at the start; None if there is none."""
        begun = self._buffer.lstrip(" \t\r\n;" if self._after_call else None)
        if not begun:
            if len(self._buffer) > _BLANKS:
                self._say(pieces, len(self._buffer) - _BLANKS)
            return None if final else False
        if begun[0] not in "{[":
            return None
        if not self._toolbox or not self._may_be_call(begun):
            self._fresh = False
            return None
        self._say(pieces, len(self._buffer) - len(begun))
        self._fresh = False
        return self._begin(pieces, "", final)

    def _may_be_call(self, begun: str) -> bool:
        """Whether a bare call may begin so, as JSON or as Python writes it."""
        if _BARE.fullmatch(begun[:60]):
            return True
        named = _BARE_PYTHON.match(begun)
        if named is None or self._toolbox is None:
            return False
        name, whole = named["name"], named[0].endswith("(")
        return any(tool == name if whole else tool.startswith(name) for tool in self._toolbox.tools)

    def _begin(self, pieces: list[Piece], opening: str, final: bool) -> bool:
        if not self._toolbox or not self._may_call:
            self._say(pieces, len(opening))
            return True
        self._opening = opening
        self._begun_calls += 1
        start = self._given - len(self._buffer) - sum(len(t) - at for t, at in self._input)
        patient = self._begun_calls <= _PATIENCE
        self._capture = Capture(
            opening, self._toolbox, patient=patient, memory=self._memory, start=start
        )
        text, self._buffer = self._buffer, ""
        return self._captured(pieces, self._capture, text, final=final)

    def _captured(self, pieces: list[Piece], capture: Capture, text: str, *, final: bool) -> bool:
        """Whether to continue with the text after a call, or after text that was not one."""
        found: Found | CutOff | bool = capture.feed(text)
        if found is True and final:
            found = capture.finish(cut=self._cut)
        if found is True:
            return False
        self._capture = None
        held = capture.text
        sure = bool(self._opening) and not self._opening.startswith("```")
        if isinstance(found, CutOff):
            pieces.append(Cut(found.name, held, sure))
        elif not isinstance(found, Found):
            self._tries += 1
            self._waste += len(held)
            if sure and (named := capture.unread_tool):
                pieces.append(Unread(named, held[:_MOST_QUOTED]))
                self._unread = True
            elif not self._opening:
                self._unread = capture.names_tool
            self._put_back(held)
            if self._opening:
                self._say(pieces, len(self._opening))
        else:
            self._put_back(held[found.used :])
            quoted = self._opening.startswith("```") and self._begun
            pieces.append(Calls(found.calls, held[: found.used], quoted, sure))
            self._fresh = self._after_call = True
            self._cut_rest(pieces)
        return True

    def _cut_rest(self, pieces: list[Piece]) -> None:
        """Handle further calls in the same value, the next of which was cut off."""
        rest = self._buffer.lstrip()
        if self._cut and not self._input and rest.startswith((",", "{")):
            pieces.append(Cut("", self._buffer, sure=True))
            self._buffer = ""

    def _put_back(self, text: str) -> None:
        """Examine `text` again, before what follows it."""
        if len(text) > _SLICE:
            self._input.append((text, _SLICE))
        self._buffer = text[:_SLICE]


@lru_cache(4 * len(marks.THINKING))
def _closing(closes: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, closes)))


def _begins(closes: tuple[str, ...], tail: str) -> bool:
    return any(close.startswith(tail) for close in closes)
