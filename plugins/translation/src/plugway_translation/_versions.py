"""Assembles the arguments of a tool call, which arrive in pieces or repeatedly. No I/O."""

from __future__ import annotations

import re
from typing import Final

import orjson

from plugway_translation._arguments import parse_arguments
from plugway_translation._escapes import end_of_escapes
from plugway_translation._repeated import last_of_joined, last_version, split_versions
from plugway_wire.arguments import is_json, object_text, whole_escapes
from plugway_wire.gather import Gathered

_PIECES: Final = 1000
_MARKS: Final = re.compile(r'\\.|["{}\[\]]', re.DOTALL)


class Arguments:
    """Collects pieces. `fresh` returns what can be sent now, `rest` what remains at the end.

    Together they form the JSON text of the last complete version. If the first piece is a complete
    object, later ones may replace it, so nothing is sent before the end; likewise if the text does
    not start like an object.
    """

    __slots__ = (
        "_checked",
        "_complete",
        "_depth",
        "_escaped",
        "_final",
        "_over",
        "_quoted",
        "_sent",
        "_states",
        "_unsent",
        "_versions",
        "begins",
        "now",
    )

    def __init__(self) -> None:
        self.now = Gathered("the arguments of a tool call")
        """The current version; usually the only one."""
        self.begins = ""
        """The first character that is not whitespace."""
        self._versions: list[str] = []
        """Earlier versions."""
        self._unsent: list[str] = []
        self._sent = 0
        self._depth = 0
        self._quoted = False
        self._escaped = ""
        self._states = False
        """Whether there may be more than one version."""
        self._final = False
        """Whether the server marked the last version as complete."""
        self._over = False
        self._checked = 0
        self._complete = False

    def add(self, piece: str) -> int:
        """Add a piece; return by how many characters the stored text grew.

        Raises:
            BackendProtocolError: the arguments are too long.
        """
        size = 0
        first = not self.begins
        begins = piece.lstrip()[:1]
        if self.now.size and (begins == "{" or (begins == '"' == self.begins)):
            size -= self._again(piece)
        self.now.add(piece)
        self.begins = self.begins or begins
        self._look(piece)
        if first and begins:
            self._states = begins != "{" or not self._depth
        if not self._versions:
            if len(self._unsent) > _PIECES:
                self._unsent = ["".join(self._unsent)]
            self._unsent.append(piece)
        return size + len(piece)

    def add_whole(self, text: str) -> None:
        """Take the server's complete arguments; ignored if they equal what has arrived."""
        before = self.now.text()
        if text.startswith(before):
            rest = text[len(before) :]
            if rest:
                self.add(rest)
            return
        old, new = parse_arguments(before), parse_arguments(text)
        if new is not None and (old is None or old.keys() <= new.keys()):
            self._next_version(before)
            self.add(text)
            self._final = True

    def is_state(self, piece: str) -> bool:
        """Whether a piece after complete arguments may repeat or update them, rather than start
        another call."""
        text = piece.strip()
        if not text or self.now.text().strip().startswith(text):
            return True
        return is_json(text) and last_version([self.text(), text]) is not None

    def _again(self, piece: str) -> int:
        """Start another version if `piece` is one; return how many characters were discarded."""
        whole = not self._depth and not self._quoted
        if not whole and len(piece) < self.now.size:
            return 0
        before = self.now.text()
        if not whole and (not before.strip() or not piece.startswith(before)):
            return 0
        # `{"a":` followed by `{"a":1}` may be a nested value: keep both.
        sure = not whole and (self._quoted or before.rstrip()[-1] not in ":,[")
        kept = not sure or not self._versions
        self._next_version(before if kept else "")
        return 0 if kept else len(before)

    def _next_version(self, before: str) -> None:
        """Start another version; store `before` unless it is empty."""
        self.now = Gathered("the arguments of a tool call")
        self._depth, self._quoted, self._escaped, self._checked = 0, False, "", 0
        self._versions += [before] if before else []

    def _look(self, piece: str) -> None:
        begun = self.now.size > len(piece)
        text = self._escaped + piece
        self._escaped = ""
        for mark in _MARKS.finditer(text):
            sign = mark[0]
            if sign == '"':
                self._quoted = not self._quoted
            elif not self._quoted and sign in "{[":
                self._states = self._states or (begun and not self._depth)
                self._depth, begun = self._depth + 1, True
            elif not self._quoted and sign in "}]":
                self._depth -= 1
        if self._quoted and (len(text) - len(text.rstrip("\\"))) % 2:
            self._escaped = "\\"

    @property
    def whole(self) -> bool:
        """Whether the last version is complete JSON."""
        return not self._depth and not self._quoted and is_json(self.now.text())

    @property
    def complete(self) -> bool:
        """Whether it is a JSON object with members."""
        if self._depth or self._quoted or self._checked == self.now.size:
            return self._complete and not self._depth
        self._checked = self.now.size
        text = self.text()
        ends = text.rstrip().endswith("}") and text.strip("{} \t\r\n") != ""
        self._complete = ends and is_json(text)
        return self._complete

    @property
    def settled(self) -> bool:
        """Whether it is complete and grew piece by piece, so that nothing can follow."""
        return not self._states and not self._versions and self.complete

    def text(self) -> str:
        """The final text: a JSON object, or else the text as received."""
        if self._final:
            return object_text(whole_escapes(self.now.text())) or self.now.text()
        whole = whole_escapes("".join((*self._versions, self.now.text())))
        if not self._versions and (self._depth or self._quoted):
            return whole
        if whole.lstrip()[:1] == "{" and is_json(whole):
            return whole
        found = object_text(whole) if whole.strip() else whole
        if found is None and self._versions:
            found = last_version(
                [*map(whole_escapes, self._versions), whole_escapes(self.now.text())]
            )
        elif found is None:
            found = last_of_joined(whole.strip())
        return whole if found is None else found

    def fresh(self) -> str:
        """What can be sent now; the final brace is held back, because more may follow."""
        if self._versions or self._states or not self.begins:
            return ""
        text = "".join(self._unsent)
        end = len(text.rstrip())
        end = end - 1 if end and text[end - 1] == "}" else end_of_escapes(text)
        self._unsent = [text[end:]]
        self._sent += end
        return whole_escapes(text[:end])

    def rest(self) -> str:
        """What remains to be sent at the end of the call; empty when called again."""
        if self._over:
            return ""
        self._over = True
        self._unsent.clear()
        text = self.text()
        first = whole_escapes(self._versions[0] if self._versions else self.now.text())
        return text[self._sent :] if text.startswith(first[: self._sent]) else self._added(first)

    def _added(self, first: str) -> str:
        """The rest of the version sent so far, followed by members that a later version changes.

        For a duplicate member, JSON parsers use the last value.
        """
        if versions := split_versions(first):
            first = first[: first.index(versions[0]) + len(versions[0])]
        rest = first[self._sent :].rstrip()
        closers = _closers(first)
        old, new = parse_arguments(first + closers), parse_arguments(self.text())
        if old is None or new is None:
            return rest
        later = {name: new[name] for name in new if name not in old or old[name] != new[name]}
        if not later:
            return rest + closers
        open_ = (rest + closers)[:-1]
        return f"{open_}{',' if old else ''}{orjson.dumps(later).decode()[1:]}"


def _closers(text: str) -> str:
    """The characters that close the open string and containers of a JSON text."""
    quoted, found = False, ""
    for mark in _MARKS.finditer(text):
        sign = mark[0]
        if sign == '"':
            quoted = not quoted
        elif not quoted and sign in "{[":
            found = ("}" if sign == "{" else "]") + found
        elif not quoted and sign in "}]":
            found = found[1:]
    return ('"' if quoted else "") + found
