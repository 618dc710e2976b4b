"""Replies with a list of parts as `content`, which in this API is a text: rewritten. No I/O.

Mistral's models write their thinking so, and clients of the API fail (BerriAI/litellm#16272).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_openai_wire.chat._thinking import FIELDS, part_text
from plugway_wire.bounds import is_deep
from plugway_wire.json import loaded

_LIST: Final = re.compile(rb'"content"\s*:\s*\[')
_NOTE: Final = (
    "translate content: a list of parts; text as text, thinking as `reasoning_content`, "
    "others left out"
)


class PlainContent:
    """Rewrites one reply. Lines are sent whole, because no client can use a part of one; those
    without such a list keep their bytes."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._noted = False
        self._rest = bytearray()
        """The start of a line; `RawChunks` limits its length."""

    def feed(self, chunk: bytes) -> bytes:
        """The client's bytes for the next ones of the server."""
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not end:
            self._rest += chunk
            return b""
        ready = bytes(self._rest) + chunk[:end]
        self._rest = bytearray(chunk[end:])
        if _LIST.search(ready) is None:
            return ready
        return b"".join(map(self._line, ready.splitlines(keepends=True)))

    def flush(self) -> bytes:
        """The bytes that are held back, at the end."""
        rest, self._rest = bytes(self._rest), bytearray()
        return self._line(rest)

    def whole(self, body: bytes) -> bytes:
        """The client's bytes for a complete response."""
        return body if _LIST.search(body) is None else self._plain(body)

    def _line(self, line: bytes) -> bytes:
        if not line.startswith(b"data:") or _LIST.search(line) is None:
            return line
        raw = line[5:]
        plain = self._plain(raw)
        end = raw[len(raw.rstrip(b"\r\n")) :]
        return line if plain is raw else b"data: " + plain + end

    def _plain(self, raw: bytes) -> bytes:
        if is_deep(raw):
            return raw
        data = loaded(raw)
        choices = as_list(data.get("choices"))
        plain = list(map(_choice, choices))
        if all(new is old for new, old in zip(plain, choices, strict=True)):
            return raw  # the list is another one, such as that of `logprobs`
        if not self._noted:
            self._noted = True
            self._note(_NOTE)
        return orjson.dumps({**data, "choices": plain})


def _choice(choice: Any) -> Any:
    """The choice with a text as content; the same object if it has one."""
    fields = as_object(choice)
    holders = {name: as_object(fields.get(name)) for name in ("delta", "message")}
    found = {n: _holder(h) for n, h in holders.items() if isinstance(h.get("content"), list)}
    return {**fields, **found} if found else choice


def _holder(holder: Mapping[str, Any]) -> dict[str, Any]:
    parts = [as_object(part) for part in as_list(holder["content"])]
    text = "".join(str(p.get("text") or "") for p in parts if p.get("type") == "text")
    thought = "".join(part_text(part) for part in parts if part.get("type") == "thinking")
    found = {**holder, "content": text or None}
    if thought:
        found[FIELDS[0]] = f"{holder.get(FIELDS[0]) or ''}{thought}"
    return found
