"""Hold text that may be a call until it is known to be one, and find its end.

See `plugway_toolcalls` for the parsers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from plugway_tool_repair._arguments import dumps
from plugway_tool_repair._tools import Toolbox
from plugway_toolcalls import (
    BARE_CALL,
    BARE_HEAD,
    NOT_A_CALL,
    CallReader,
    MalformedCall,
    Memory,
    NotJson,
    Tool,
    read,
)
from plugway_toolcalls.marks import (
    ALL,
    HEADER_END,
    HEADERS,
    TO,
    aliases,
    formats_of,
    head_names,
    header_format,
)
from plugway_wire.gather import Gathered

MAX_CALL: Final = 256 * 1024
"""Maximum characters of a call in text, because it is parsed again at its end."""
_HEAD: Final = 400
_SMALL: Final = 4096
_BARE: Final = 80
_BEGINS: Final = re.compile(r"\s*(?:[{\[`]|<function=|\Z)")
"""Text after the opening of a call, before the tool's name."""
_WORD: Final = re.compile(r"\s*(?:functions\.)?([\w-]+)")
_NAMED: Final = re.compile(r"\s*(?:\[\s*)?(?:\{\s*[\"']\w+[\"']\s*:\s*[\"'])?([\w.-]+)[\"'(]")
"""The name of a tool at the beginning of a call without an opening."""
_LEADS: Final = frozenset(("call", "function", "print", "default_api"))
"""Text that model families write before the name of a tool."""


@dataclass(frozen=True, slots=True)
class Found:
    """Calls, in the first `used` characters of the held text."""

    calls: tuple[tuple[str, str], ...]
    """Name, and arguments as JSON text."""
    used: int


@dataclass(frozen=True, slots=True)
class CutOff:
    """The text is a call that was cut off."""

    name: str
    """The tool's name as far as it is known."""


class Capture:
    """One text that starts with the opening of a call, or with a call without an opening."""

    def __init__(
        self,
        opening: str,
        toolbox: Toolbox,
        *,
        patient: bool = True,
        memory: Memory | None = None,
        start: int = 0,
    ) -> None:
        """`patient`, `memory` and `start` are passed to `CallReader`; `start` is the opening's."""
        self._opening, self._patient = opening, patient
        self._memory, self._start = memory or Memory(), start
        self._toolbox = toolbox
        self._names = [name.lower() for name in toolbox.tools]
        self._reader: CallReader | None = None
        self._begin = 0
        """Index of the call, after its opening or header."""
        self._name = ""
        self.text = ""
        self._held = Gathered("a tool call written as text", MAX_CALL)
        self._waiting = 0
        self._named = False

    def feed(self, text: str) -> Found | bool:
        """The calls; True while undecided, False if it is not a call.

        Raises:
            BackendProtocolError: it is longer than `MAX_CALL`.
        """
        self._held.add(text)
        self._waiting += len(text)
        if self._waiting < len(self.text) // 8 and len(self.text) > _SMALL:
            return True
        return self._take(final=False, cut=False)

    def finish(self, *, cut: bool) -> Found | CutOff | bool:
        """The result if nothing follows; `cut` means that the reply was cut off."""
        found = self._take(final=True, cut=cut)
        if found is False and cut and self._is_begun:
            return CutOff(self._name or self._tool_in_head)
        return found

    @property
    def unread_tool(self) -> str:
        """The tool of an unreadable call; empty if the text may not be a call."""
        begin = max(self._begin, len(self._opening))
        inner = self.text[begin : begin + _HEAD].lstrip().startswith(ALL)
        return self._tool_in_head if self._is_begun and not inner else ""

    @property
    def names_tool(self) -> bool:
        """Whether a text without an opening begins as a call of a tool does."""
        named = _NAMED.match(self.text)
        return named is not None and named[1] in self._toolbox.tools

    @property
    def _tool_in_head(self) -> str:
        head = self.text[:_HEAD].lower()
        return max((n for n in self._toolbox.tools if n.lower() in head), key=len, default="")

    @property
    def _is_begun(self) -> bool:
        """Whether it looks like an incomplete call, and not like text about calls."""
        if self._opening in HEADERS:
            return True
        if _BEGINS.match(self.text, len(self._opening)):
            return True
        word = _WORD.match(self.text, len(self._opening))
        named = word[1] if word is not None else ""
        unfinished = word is not None and word.end() == len(self.text)
        return named in _LEADS or any(
            name.lower() == named.lower() or (unfinished and name.startswith(named))
            for name in self._toolbox.tools
        )

    def _take(self, *, final: bool, cut: bool) -> Found | bool:
        self.text, self._waiting = self._held.text(), 0
        if not self._named:
            head = self.text[:_HEAD]
            self._named = head_names(head, self._names) or head_names(
                re.sub(r"[\s_-]", "", head), [re.sub(r"[\s_-]", "", n) for n in self._names]
            )
            if not self._named and (final or len(self.text) >= _HEAD):
                return False
        if self._reader is None:
            opened = self._open(final)
            if opened is not True:
                return not final if opened is None else False
        return self._parse(final, cut)

    def _open(self, final: bool) -> bool | None:
        """Whether the format of the call is known; False if it is not a call."""
        if self._opening in HEADERS:
            end = self.text.find(HEADER_END)
            named = TO.search(self.text, 0, max(end, 0))
            if end < 0 or named is None:
                return None if end < 0 else False
            self._begin, self._name = end + len(HEADER_END), named["name"]
        else:
            following = self.text[len(self._opening) : len(self._opening) + _HEAD].lstrip()[:1]
            if not following:
                return None
            self._begin = len(self._opening)
            if not self._opening:
                head = self.text[:_BARE].partition(":")
                if self._is_python:
                    self._reader = self._new_reader(self._memory)
                    return True
                if not head[1] and len(self.text) < _BARE and not final:
                    return None
                if BARE_HEAD.fullmatch(head[0] + head[1]) is None:
                    return False
        self._reader = self._new_reader(self._memory)
        return True

    @property
    def _is_python(self) -> bool:
        """Whether it is a bare list of calls as Python writes them."""
        named = BARE_CALL.match(self.text)
        return named is not None and named["name"] in self._toolbox.tools

    def _new_reader(self, memory: Memory) -> CallReader:
        if self._opening in HEADERS:
            return CallReader([header_format()], self._name)
        following = self.text[self._begin :].lstrip()[:1] if self._opening else "{"
        following = "(" if not self._opening and self._is_python else following
        formats, start = formats_of(self._opening, following), self._start + self._begin
        return CallReader(formats, patient=self._patient, memory=memory, start=start)

    def _parse(self, final: bool, cut: bool) -> Found | bool:
        assert self._reader is not None
        body = self.text[self._begin :]
        end = self._reader.find(body, final=final, cut=cut)
        if end is None:
            return True
        if end == NOT_A_CALL:
            return self._retry(self.text, closing=True) if final and not cut else False
        try:
            calls = self._reader.calls(body[:end], self._toolbox.tools)
        except MalformedCall:
            used = self._begin + self._reader.used
            return self._retry(self.text[:used], closing=final and not cut)
        used = self._begin + self._reader.used
        return Found(tuple((call.name, call.arguments) for call in calls), used)

    def _retry(self, text: str, *, closing: bool) -> Found | bool:
        """Parse again, with names that almost match and JSON that is almost valid.

        `closing`: add missing closing brackets at the end.
        """
        more = aliases(text[:_HEAD], self._toolbox.tools, self._toolbox.named)
        tools = {**self._toolbox.tools, **dict(more)}
        for candidate in (text, self._loosely(text, closing)):
            calls = self._whole(candidate, tools) if candidate is not None else ()
            if calls:
                return Found(calls, len(text))
        return False

    def _whole(self, text: str, tools: dict[str, Tool]) -> tuple[tuple[str, str], ...]:
        """The calls if all of `text` consists of calls."""
        reader, body = self._new_reader(Memory()), text[self._begin :]
        end = reader.find(body, final=True)
        if end is None or end == NOT_A_CALL or body[end:].strip():
            return ()
        try:
            return tuple((call.name, call.arguments) for call in reader.calls(body[:end], tools))
        except MalformedCall:
            return ()

    def _loosely(self, text: str, closing: bool) -> str | None:
        """`text` with its first JSON value rewritten as valid JSON."""
        begins = [at for mark in "{[" if (at := text.find(mark, self._begin)) >= 0]
        if not begins:
            return None
        start = min(begins)
        try:
            value, end = read(text, start, closing=closing)
        except NotJson:
            return None
        return text[:start] + dumps(value) + text[end:]
