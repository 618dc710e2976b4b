"""Translates parts of OpenAI messages into Messages API blocks. Pure functions."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from plugway import as_object
from plugway_openai_api._fields import (
    invalid,
    missing,
    optional_object,
    optional_text,
    text,
    wrong_type,
    wrong_value,
)
from plugway_translation import Media, MediaPolicy, Notes, media_placeholder

_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.=+-]+)*),", re.ASCII)
_TYPES: Final = "'text', 'image_url', 'input_audio', 'file' and their names in Responses"


class Parts:
    """Reads content parts; `media` says what to do with media that no backend accepts."""

    def __init__(self, notes: Notes, media: MediaPolicy = "placeholder") -> None:
        self._notes = notes
        self._media: MediaPolicy = media

    def content(self, value: Any, path: str) -> str | list[dict[str, Any]]:
        """The content of a message: a string unchanged, parts as blocks without empty texts.

        Raises `InvalidRequest`.
        """
        if value is None:
            return []
        if isinstance(value, str):
            return value
        if not isinstance(value, list):
            raise wrong_type(path, "a string or an array of content parts", value)
        blocks: list[dict[str, Any]] = []
        for index, part in enumerate(value):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            at = f"{path}[{index}]"
            if not isinstance(part, dict):
                raise wrong_type(at, "an object", part)
            if block := self.block(as_object(part), at):
                blocks.append(block)
        return blocks

    def block(self, part: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        """One part as a block; None for an empty text. Raises `InvalidRequest`."""
        block = self._block(part, path)
        cache_control = part.get("cache_control")  # some clients know that Anthropic is behind
        if block and isinstance(cache_control, dict):
            block["cache_control"] = cache_control
        return block

    def _block(self, part: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        match text(part, "type", f"{path}.type"):
            case "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text":
                return _text(optional_text(part, "text", f"{path}.text"))
            case "refusal":
                return _text(optional_text(part, "refusal", f"{path}.refusal"))
            case "image_url":
                image = part.get("image_url")
                inner = as_object(image) if isinstance(image, dict) else {"url": image}
                self._detail(inner)
                return self._image(inner, "url", f"{path}.image_url.url")
            case "input_image":
                self._detail(part)
                return self._image(part, "image_url", f"{path}.image_url")
            case "file":
                return self._file(optional_object(part, "file", f"{path}.file"), f"{path}.file")
            case "input_file":
                return self._file(part, path)
            case "thinking" | "redacted_thinking":  # from Mistral, and from proxies for Claude
                self._notes.add("messages.thinking", "drop", "Chat carries no signature")
                return None
            case "input_audio":
                return self._left_out("audio", "the Messages API has no audio")
            case other:
                raise wrong_value(f"{path}.type", other, _TYPES)

    def _detail(self, holder: Mapping[str, Any]) -> None:
        if holder.get("detail") not in (None, "auto"):
            self._notes.add("detail", "drop", "the Messages API has one image resolution")

    def _image(self, holder: Mapping[str, Any], key: str, path: str) -> dict[str, Any] | None:
        if holder.get(key) is None and isinstance(holder.get("file_id"), str):
            return self._left_out("image", "OpenAI stores the file; send the data instead")
        url = text(holder, key, path)
        if url.startswith(("https://", "http://")):
            return {"type": "image", "source": {"type": "url", "url": url}}
        mime, data = _data(url, path)
        mime = "image/jpeg" if mime == "image/jpg" else mime
        return {"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}}

    def _file(self, holder: Mapping[str, Any], path: str) -> dict[str, Any] | None:
        title = optional_text(holder, "filename", f"{path}.filename")
        url = optional_text(holder, "file_url", f"{path}.file_url")
        if url:
            source: dict[str, Any] = {"type": "url", "url": url}
        elif data := optional_text(holder, "file_data", f"{path}.file_data"):
            source = _file_source(data, title, f"{path}.file_data")
        elif holder.get("file_id"):
            return self._left_out("document", "OpenAI stores the file; send the data instead")
        else:
            raise missing(f"{path}.file_data")
        block = {"type": "document", "source": source}
        return {**block, "title": title} if title else block

    def _left_out(self, what: str, because: str) -> dict[str, Any]:
        shape = "image" if what == "image" else "document"
        notice = media_placeholder(
            Media(shape, "" if what == shape else what), self._media, self._notes, because
        )
        return {"type": "text", "text": notice}


def _text(value: str) -> dict[str, Any] | None:
    return {"type": "text", "text": value} if value else None


def _data(url: str, path: str) -> tuple[str, str]:
    """Media type and base64 data of a `data:` URL, also if it is percent-encoded (RFC 2397).

    Raises `InvalidRequest`.
    """
    head = _DATA_URL.match(url)
    if head is not None and ";base64" not in head[2]:
        raw = base64.b64encode(unquote_to_bytes(url[head.end() :])).decode()
        return head[1] or "text/plain", raw
    if head is None:
        raise invalid(
            f"Invalid value for '{path}': expected an http(s) URL or data in a `data:` URL."
        )
    return head[1] or "application/octet-stream", url[head.end() :]


def _file_source(data: str, title: str, path: str) -> dict[str, Any]:
    mime, raw = _data(data, path) if data.startswith("data:") else ("", data)
    if not mime:
        mime = "text/plain" if title.endswith((".txt", ".md", ".csv")) else "application/pdf"
    if not mime.startswith("text/"):
        return {"type": "base64", "media_type": mime, "data": raw}
    try:
        content = base64.b64decode(raw, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid(f"Invalid value for '{path}': expected base64 of UTF-8 text.") from None
    return {"type": "text", "media_type": "text/plain", "data": content}


def plain_text(value: str | list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
    """Content that must consist of texts, as text blocks. Raises `InvalidRequest`."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}] if value else []
    for block in value:
        if block.get("type") != "text":
            kind = block.get("type")
            raise invalid(f"Invalid value for '{path}': expected text, got {kind}.")
    return value
