"""Builds `groundingMetadata` from citations, and notes what Gemini's API cannot represent.

https://ai.google.dev/api/generate-content#GroundingMetadata: pages and documents are chunks; a
support maps a range of the reply's text, in bytes, to chunks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import StreamEvent, as_list, as_object
from plugway_translation import count, parse_arguments, type_name
from plugway_wire.gather import Gathered

_PARTS: Final = ("text", "tool_use", "thinking", "redacted_thinking")
_REASONS: Final[Mapping[str, str]] = {
    "model_context_window_exceeded": "the window is full, reported as `MAX_TOKENS`",
    "pause_turn": "the model paused and would continue, reported as `STOP`",
}
_WEB: Final = ("https://", "http://")
_MOST: Final = 1_000
"""Limit of chunks in one reply."""


class Sources:
    """Reads the events of one reply."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        """Lines for the receipt, each once."""
        self._chunks: list[dict[str, Any]] = []
        self._places: dict[str, int] = {}
        """Chunks by URL, or by title and text."""
        self._supports: list[dict[str, Any]] = []
        self._queries: list[str] = []
        self._block: dict[str, Any] = {}
        """The start of the open block."""
        self._arguments = Gathered("a search")
        self._size = 0
        """Bytes of the reply's text."""
        self._begin = 0
        self._cited: list[int] = []
        """Chunks that the open text cites."""

    def event(self, event: StreamEvent) -> None:
        """Process one event. Raises `BackendProtocolError` if a search is too long."""
        match event.type:
            case "content_block_start":
                self._open(as_object(event.data.get("content_block")))
            case "content_block_delta":
                self._delta(as_object(event.data.get("delta")))
            case "content_block_stop":
                self._close()
            case _:
                pass

    def end(self, reason: str, usage: Mapping[str, Any]) -> dict[str, Any]:
        """Return `groundingMetadata`; empty if the reply cites no sources."""
        if meaning := _REASONS.get(reason):
            self._add(f"translate stop_reason: {meaning}")
        if count(usage.get("cache_creation_input_tokens")):
            self._add(
                "translate usage.cache_creation_input_tokens: counted as tokens of the prompt"
            )
        found = {
            "webSearchQueries": self._queries,
            "groundingChunks": self._chunks,
            "groundingSupports": self._supports,
        }
        return {name: values for name, values in found.items() if values}

    def _open(self, block: dict[str, Any]) -> None:
        self._block, self._arguments = block, Gathered("a search")
        self._begin, self._cited = self._size, []
        kind = block.get("type")
        if kind == "text":
            self._size += _bytes(block.get("text"))
        elif kind == "web_search_tool_result":
            for page in map(as_object, as_list(block.get("content"))):
                if not self._web(page, page.get("url")):
                    self._add("drop web_search_tool_result: a page without a URL")
        elif kind not in _PARTS and not self._searches():
            self._add(f"drop {type_name(kind)}: the client's API does not support it")

    def _searches(self) -> bool:
        kind, name = self._block.get("type"), self._block.get("name")
        return kind == "server_tool_use" and name == "web_search"

    def _delta(self, delta: Mapping[str, Any]) -> None:
        match delta.get("type"):
            case "text_delta":
                self._size += _bytes(delta.get("text"))
            case "citations_delta":
                self._cite(as_object(delta.get("citation")))
            case "input_json_delta" if self._searches():
                self._arguments.add(str(delta.get("partial_json") or ""))
            case _:
                pass

    def _close(self) -> None:
        if self._searches():
            given = parse_arguments(self._arguments.text()) or as_object(self._block.get("input"))
            if isinstance(query := given.get("query"), str):
                self._queries.append(query)
        if self._cited:
            segment = {"startIndex": self._begin, "endIndex": self._size}
            support = {"segment": segment, "groundingChunkIndices": self._cited}
            self._supports.append(support)
        self._block, self._cited = {}, []

    def _cite(self, citation: Mapping[str, Any]) -> None:
        if any(self._web(citation, citation.get(name)) for name in ("url", "source")):
            return
        title = citation.get("document_title") or citation.get("title")
        context = {"title": title, "text": citation.get("cited_text")}
        context = {name: value for name, value in context.items() if isinstance(value, str)}
        if context:
            self._chunk(f"{title}\n{context.get('text')}", {"retrievedContext": context})
        else:
            self._add("drop citations: a source without title, text and URL")

    def _web(self, source: Mapping[str, Any], where: object) -> bool:
        """Add a web page; False if it is not one."""
        if not (isinstance(where, str) and where.startswith(_WEB)):
            return False
        self._chunk(where, {"web": {"uri": where, "title": source.get("title") or where}})
        return True

    def _chunk(self, key: str, chunk: dict[str, Any]) -> None:
        if key not in self._places:
            if len(self._chunks) == _MOST:
                self._add(f"drop citations: more than {_MOST} sources")
                return
            self._places[key] = len(self._chunks)
            self._chunks.append(chunk)
        if self._block.get("type") == "text" and self._places[key] not in self._cited:
            self._cited.append(self._places[key])

    def _add(self, line: str) -> None:
        if line not in self.lines:
            self.lines.append(line)


def _bytes(text: object) -> int:
    return len(text.encode(errors="replace")) if isinstance(text, str) else 0
