"""Translates inline data and files into blocks of the Messages API. Pure functions.

`Blob` and `FileData` in https://ai.google.dev/api/caching#Part.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from plugway_gemini_api._fields import invalid, named, text, unknown
from plugway_translation import (
    Media,
    MediaPolicy,
    Notes,
    media_placeholder,
    plain_base64,
    true_type,
)

PDF: Final = "application/pdf"
_TEXTS: Final = ("text/", "application/json", "application/xml", "application/x-javascript")
_GOOGLES: Final = ("generativelanguage.googleapis.com", "youtube.com", "youtu.be")
"""Hosts whose files only Google can read, and whose videos only Google fetches."""

Block = dict[str, Any]


class Attachments:
    """Reads media; `policy` says what to do with media that no backend accepts."""

    def __init__(self, notes: Notes, policy: MediaPolicy) -> None:
        self._notes = notes
        self._policy: MediaPolicy = policy

    def block(self, part: Mapping[str, Any], path: str) -> Block | None:
        """The block for the `inlineData` or `fileData` of a part; None without either.

        Raises `InvalidRequest`.
        """
        if "inlineData" in part:
            blob = named(part["inlineData"])
            unknown(blob, ("mimeType", "data", "displayName"), "inlineData", self._notes)
            return self._inline(blob, f"{path}.inlineData")
        if "fileData" in part:
            file = named(part["fileData"])
            unknown(file, ("mimeType", "fileUri", "displayName"), "fileData", self._notes)
            return self._file(file, f"{path}.fileData")
        return None

    def words(self, mime: str, because: str) -> Block:
        """A placeholder for media. Raises `InvalidRequest` if the policy is to reject."""
        kind = "image" if mime.startswith("image/") else "document"
        notice = media_placeholder(Media(kind, mime), self._policy, self._notes, because)
        return {"type": "text", "text": notice}

    def _inline(self, blob: Mapping[str, Any], path: str) -> Block:
        mime, title = text(blob, "mimeType", path), text(blob, "displayName", path)
        # SDKs write URL-safe base64, which the Messages API does not accept.
        data = plain_base64(text(blob, "data", path))
        if not data or not mime:
            raise invalid(path, "`mimeType` and `data` (base64) are required")
        mime = true_type(mime, data)
        source = {"type": "base64", "media_type": mime, "data": data}
        if mime.startswith("image/"):
            self._untitled(title)
            return {"type": "image", "source": source}
        if mime.startswith(_TEXTS):
            source = {"type": "text", "media_type": "text/plain", "data": _text_of(data, path)}
        elif mime != PDF:
            kind = mime.partition("/")[0]
            what = kind if kind in ("audio", "video") else "media of its type"
            return self.words(mime, f"the Messages API has no {what}")
        return _document(source, title)

    def _file(self, file: Mapping[str, Any], path: str) -> Block:
        mime, uri = text(file, "mimeType", path), text(file, "fileUri", path)
        title = text(file, "displayName", path)
        if not uri:
            raise invalid(f"{path}.fileUri", "a URL is required")
        place = urlsplit(uri)
        if place.scheme not in ("http", "https") or (place.hostname or "").endswith(_GOOGLES):
            return self.words(mime, "Google stores the file; send the data instead")
        source = {"type": "url", "url": uri}
        if mime.startswith("image/"):
            self._untitled(title)
            return {"type": "image", "source": source}
        if mime == PDF:
            return _document(source, title)
        return self.words(mime, "the Messages API fetches only images and PDFs")

    def _untitled(self, title: str) -> None:
        if title:
            self._notes.add("contents.parts.displayName", "drop", "images have no titles here")


def _document(source: Block, title: str) -> Block:
    return {"type": "document", "source": source, **({"title": title} if title else {})}


def _text_of(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise invalid(f"{path}.data", "expected base64 of UTF-8 text") from None
