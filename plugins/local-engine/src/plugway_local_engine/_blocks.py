"""Content blocks of the Messages API as text for a chat template.

See `_conversation` for the messages that contain them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import as_list, as_object
from plugway_translation import type_name

ERROR_MARK: Final = "[tool error] "
_JOIN: Final = "\n"


@dataclass
class BlockReader:
    """Converts blocks to text; collects images and notes."""

    image_marker: str = ""
    """Marker text that the engine replaces with an image; `{}` in it is the image's number. Empty
    if the model reads text only."""
    images: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    """The `source` of each marked image, in order."""
    notes: list[str] = field(default_factory=list[str])

    def text_of(self, content: Any) -> str:
        """Text of content that is a string or a list of blocks."""
        if isinstance(content, str):
            return content
        pieces = [self.block(as_object(item)) for item in as_list(content)]
        return _JOIN.join(piece for piece in pieces if piece)

    def block(self, block: Mapping[str, Any]) -> str:
        """Text of one block; a visible placeholder if the model cannot read it."""
        match block.get("type"):
            case "text":
                return str(block.get("text", ""))
            case "image":
                return self._image(block)
            case "document":
                return self._document(block)
            case "search_result":
                return self._search_result(block)
            case "tool_reference":
                return f"[the tool `{block.get('tool_name', '')}` is available]"
            case "mid_conv_system":
                return self.text_of(block.get("content"))
            case "redacted_thinking":
                self.notes.append("drop redacted_thinking: it is from another model")
                return ""
            case kind:
                self.notes.append(f"drop {type_name(kind)}: the model cannot read it")
                return f"[a `{kind}` block that this model cannot read]"

    def result(self, block: Mapping[str, Any]) -> str:
        """The text of a `tool_result`, marked if it is an error."""
        text = self.text_of(block.get("content"))
        if block.get("is_error") is not True:
            return text
        self.notes.append("translate tool_result.is_error: marked in the text of the result")
        return ERROR_MARK + text

    def _image(self, block: Mapping[str, Any]) -> str:
        source = as_object(block.get("source"))
        if self.image_marker and source.get("type") == "base64":
            self.images.append(source)
            return self.image_marker.replace("{}", str(len(self.images) - 1))
        if self.image_marker:
            kind = source.get("type")
            self.notes.append("drop image: not fetched; replaced with a placeholder")
            return f"[an image given by `{kind}`, which is not fetched]"
        self.notes.append("drop image: the model reads text only; replaced with a placeholder")
        return "[an image that this model cannot see]"

    def _document(self, block: Mapping[str, Any]) -> str:
        source = as_object(block.get("source"))
        title = str(block.get("title") or "")
        kind = source.get("type")
        if kind == "text":
            body = str(source.get("data", ""))
        elif kind == "content":
            body = self.text_of(source.get("content"))
        else:
            what = source.get("media_type") or kind or "document"
            self.notes.append(
                "drop document: the model cannot read it; replaced with a placeholder"
            )
            return f"[the document {title!r} ({what}), which this model cannot read]"
        self.notes.append("translate document: its text is part of the conversation")
        context = str(block.get("context") or "")
        head = f'<document title="{title}">' if title else "<document>"
        return "\n".join(part for part in (head, context, body, "</document>") if part)

    def _search_result(self, block: Mapping[str, Any]) -> str:
        self.notes.append("translate search_result: written as text")
        title, source = block.get("title", ""), block.get("source", "")
        body = self.text_of(block.get("content"))
        return f'<search_result title="{title}" source="{source}">\n{body}\n</search_result>'
