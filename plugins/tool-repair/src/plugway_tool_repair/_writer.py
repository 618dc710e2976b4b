"""The client's blocks: opened, closed and numbered one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from plugway import BackendProtocolError, StreamEvent, as_object, event
from plugway_signature import signature
from plugway_tool_repair._blocks import Block, Quoted

_MAX_BLOCKS: Final = 10_000
_MAX_BLANK: Final = 4096
"""Maximum white space that waits for the text after it."""


class Writer:
    """One reply for the client."""

    def __init__(self, note: Callable[[str], None], model: str) -> None:
        """`model` signs thinking that was written as text."""
        self._note = note
        self._model = model
        self._index = -1
        self._open: Block | None = None
        self._open_kind = ""
        self._blank = ""
        self._quoted: list[Quoted] = []
        self.changed = False
        """Whether anything differs from the source."""
        self.seen: set[str] = set()
        """Kinds of the blocks sent so far."""

    def passes(self, text: str) -> bool:
        """Whether this piece of the open text goes out as it is; it is then taken note of."""
        block = self._open
        if block is None or block.prose is None or self._quoted:
            return False
        return block.prose.plain(text)

    def _visible(
        self, block: Block, text: str, out: list[StreamEvent], item: StreamEvent | None
    ) -> None:
        if self._open is not block and text.isspace() and len(self._blank) < _MAX_BLANK:
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
            self._note("reasoning in the text was converted to a thinking block")
            self._new("thinking", {"type": "thinking", "thinking": "", "signature": ""}, out)
        delta = {"type": "thinking_delta", "thinking": text}
        out.append(event("content_block_delta", index=self._index, delta=delta))

    def _say(self, text: str, out: list[StreamEvent]) -> None:
        """A text block that the gateway adds."""
        self._new("text", {"type": "text", "text": ""}, out)
        delta = {"type": "text_delta", "text": text}
        out.append(event("content_block_delta", index=self._index, delta=delta))
        self._leave(out, None)

    def _enter(self, block: Block, out: list[StreamEvent]) -> None:
        """Open `block` for the client, unless it is open."""
        if self._open is block:
            return
        self._leave(out, None)
        self._index += 1
        if self._index >= _MAX_BLOCKS:
            raise BackendProtocolError(f"the reply has more than {_MAX_BLOCKS} blocks")
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
        if self._index >= _MAX_BLOCKS:
            raise BackendProtocolError(f"the reply has more than {_MAX_BLOCKS} blocks")
        self._open, self._open_kind = None, kind
        self.seen.add(kind)
        self.changed = True
        out.append(event("content_block_start", index=self._index, content_block=content))

    def _leave(self, out: list[StreamEvent], item: StreamEvent | None) -> None:
        if not self._open_kind:
            return
        if self._open_kind == "thinking" and self._open is None:
            signed = signature("tool-repair", self._model)
            delta = {"type": "signature_delta", "signature": signed}
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
