"""The arguments of one call as they come: in pieces, or more than once. No I/O."""

from __future__ import annotations

import re
from typing import Final

from plugway import Gathered
from plugway_openai_wire._whole import is_json
from plugway_translation import last_meant, one_of_many

_PIECES: Final = 1000
_MARKS: Final = re.compile(r'\\.|["{}\[\]]', re.DOTALL)


class Arguments:
    """Gathers pieces. `fresh` is what can be sent now: it stays true, whatever still comes."""

    __slots__ = (
        "_checked",
        "_complete",
        "_depth",
        "_escaped",
        "_over",
        "_quoted",
        "_sent",
        "_several",
        "_untold",
        "_versions",
        "begins",
        "now",
    )

    def __init__(self) -> None:
        self.now = Gathered("the arguments of a tool call")
        """The version that is coming; mostly there is no other."""
        self.begins = ""
        """The first character that is no white space."""
        self._versions: list[str] = []
        """Those before it."""
        self._untold: list[str] = []
        self._sent = 0
        self._depth = 0
        self._quoted = False
        self._escaped = ""
        self._several = False
        """An object has ended, and another one has begun in the same version."""
        self._over = False
        self._checked = 0
        self._complete = False

    def add(self, piece: str) -> int:
        """Take a piece; returns how many characters are kept more than before.

        Raises:
            BackendProtocolError: they are too long.
        """
        size = 0
        if piece.lstrip()[:1] == "{" and self.now.size:
            size -= self._again(piece)
        self.now.add(piece)
        self.begins = self.begins or piece.lstrip()[:1]
        self._look(piece)
        if not self._versions:
            if len(self._untold) > _PIECES:
                self._untold = ["".join(self._untold)]
            self._untold.append(piece)
        return size + len(piece)

    def add_whole(self, text: str) -> None:
        """Take what is said to be all of it; nothing where it is not what has come so far."""
        before = self.now.text()
        if text.startswith(before):
            rest = text[len(before) :]
            if rest:
                self.add(rest)
        elif last_meant([before, text]):
            self.add(text)

    def _again(self, piece: str) -> int:
        """Begins another version where `piece` is one; returns what is kept no longer."""
        whole = not self._depth and not self._quoted
        if not whole and len(piece) < self.now.size:
            return 0
        before = self.now.text()
        if not whole and (not before.strip() or not piece.startswith(before)):
            return 0
        # `{"a":` and then `{"a":1}` may be one value in the other: both are kept.
        sure = not whole and (self._quoted or before.rstrip()[-1] not in ":,[")
        self.now = Gathered("the arguments of a tool call")
        self._depth, self._quoted, self._escaped = 0, False, ""
        if sure and self._versions:
            return len(before)
        self._versions.append(before)
        return 0

    def _look(self, piece: str) -> None:
        begun = self.now.size > len(piece)
        text = self._escaped + piece
        self._escaped = ""
        for mark in _MARKS.finditer(text):
            sign = mark[0]
            if sign == '"':
                self._quoted = not self._quoted
            elif not self._quoted and sign in "{[":
                self._several = self._several or (begun and not self._depth)
                self._depth, begun = self._depth + 1, True
            elif not self._quoted and sign in "}]":
                self._depth -= 1
        if self._quoted and (len(text) - len(text.rstrip("\\"))) % 2:
            self._escaped = "\\"

    @property
    def complete(self) -> bool:
        """They are a JSON object that has members: nothing else can follow."""
        if self._depth or self._quoted or self._checked == self.now.size:
            return self._complete and not self._depth
        self._checked = self.now.size
        text = self.text()
        ends = text.rstrip().endswith("}") and text.strip("{} \t\r\n") != ""
        self._complete = ends and is_json(text)
        return self._complete

    @property
    def size(self) -> int:
        """Characters of the version that is coming."""
        return self.now.size

    def text(self) -> str:
        """All of it, as it is meant."""
        if not self._versions:
            text = self.now.text()
            return text if not text.lstrip().startswith("{") or self._depth else _alone(text)
        whole = "".join((*self._versions, self.now.text()))
        if is_json(whole):
            return whole
        return last_meant([*self._versions, self.now.text()]) or whole

    def fresh(self) -> str:
        """What can be sent of a call that goes on; its last brace waits, for more may come."""
        if self._versions or self._several:
            return ""
        text = "".join(self._untold)
        end = len(text.rstrip())
        end = end - 1 if end and text[end - 1] == "}" else len(text)
        self._untold = [text[end:]]
        self._sent += end
        return text[:end]

    def rest(self) -> str:
        """What is still to be sent when the call ends; nothing the second time."""
        if self._over:
            return ""
        self._over = True
        text = self.text()
        first = self._versions[0] if self._versions else self.now.text()
        if not text.startswith(first[: self._sent]):
            text = first
        self._untold.clear()
        return text[self._sent :]


def _alone(text: str) -> str:
    """`text`, or the object that is meant where several are joined in it."""
    return text if is_json(text) else one_of_many(text.strip()) or text
