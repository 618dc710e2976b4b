"""The dialects: their paths, and the code that decodes and encodes them.

The path contains the model, which may contain slashes. Clients put `models/` before it or not; some
omit it if the model contains a slash (`@ai-sdk/google`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from plugway import Deferred, InvalidRequest, Original, RequestRejected
from plugway_gemini_api._errors import STATUSES
from plugway_gemini_api._fields import named
from plugway_gemini_api._generation import AT, config_of, shows_thoughts
from plugway_gemini_api._parts import Parts
from plugway_gemini_api._reply import ContentEncoder, CountEncoder
from plugway_gemini_api._request import counted, messages_request, model_of
from plugway_gemini_api._tools import declared, names_of
from plugway_translation import (
    NOT_TRANSLATED,
    MediaPolicy,
    Notes,
    ToolNames,
    is_translatable,
)

VERSIONS: Final = ("v1beta", "v1", "v1alpha")
Method = Literal["generateContent", "streamGenerateContent", "countTokens"]
METHODS: Final[tuple[Method, ...]] = ("generateContent", "streamGenerateContent", "countTokens")
_SAID: Final = ("contents", "systemInstruction", "tools")
"""Fields that a stand-in for a request keeps."""
_SHORT: Final = 16
"""Conversations of fewer bytes may be empty, and are parsed to find out."""


class GeminiDialect:
    """One method of the API. The arguments are the plugin's options."""

    statuses = STATUSES

    def __init__(self, method: Method, max_tokens: int, media: MediaPolicy) -> None:
        self._method: Method = method
        self.max_tokens = max_tokens
        self._media: MediaPolicy = media

    @property
    def name(self) -> str:
        """The dialect's name on receipts."""
        return f"gemini-{self._method}"

    @property
    def paths(self) -> Sequence[str]:
        """Its paths: for every version of the API, and for clients whose base URL lacks one."""
        return [f"/{root}/{{model}}:{self._method}" for root in (*VERSIONS, "models")]

    @property
    def _streams(self) -> bool:
        return self._method == "streamGenerateContent"

    @property
    def counts_tokens(self) -> bool:
        """Whether it only counts tokens."""
        return self._method == "countTokens"

    @property
    def key_places(self) -> Sequence[tuple[str, str]]:
        """Also `?key=`, which older clients use."""
        return [(f"/{version}/", "key") for version in VERSIONS]

    def decode(self, original: Original) -> Mapping[str, Any] | Deferred:
        """Return the Messages request, or a stand-in if the request cannot be translated.

        Only when the target is known does `check` decide whether such a request is relayed as it
        came, so decoding may be deferred until then. Raises `RequestRejected`.
        """
        if self.counts_tokens:
            return self._read(counted(original.parsed), original)
        decode, known = partial(self._decoded, original), self._known(original)
        return Deferred(known, decode) if known else decode()

    def check(self, original: Original) -> None:
        """Raise `RequestRejected` if the request can only be relayed as it came."""
        if not is_translatable(original):
            self._read(original.parsed, original)

    def _known(self, original: Original) -> dict[str, Any] | None:
        """The fields known without parsing the conversation; None if the body is not a request."""
        raw = original.unparsed("contents")
        if raw is None or len(memoryview(raw)) < _SHORT:
            present = bool(original.get("contents"))
        else:
            present = bytes(memoryview(raw)[:1]) in (b"[", b"{")
        return {"model": model_of(original.path), "stream": self._streams} if present else None

    def _decoded(self, original: Original) -> Mapping[str, Any]:
        try:
            return self._read(original.parsed, original)
        except InvalidRequest as refused:
            del original.notes[:]
            body = named(original.parsed)
            limit = named(body.get(AT)).get("maxOutputTokens")
            limit = limit if type(limit) is int and limit > 0 else None
            kept = {name: body[name] for name in _SAID if name in body}
            try:
                found = self._read({**kept, AT: {"maxOutputTokens": limit}}, original)
            except InvalidRequest:
                raise refused from None
            original.notes[:] = [NOT_TRANSLATED + refused.message]
            return found

    def _read(self, body: Mapping[str, Any], original: Original) -> dict[str, Any]:
        """Translate a body. Raises `InvalidRequest`."""
        notes = Notes()
        found = messages_request(
            body,
            model_of(original.path),
            notes,
            max_tokens=self.max_tokens,
            media=self._media,
        )
        if self._streams:
            found["stream"] = True
        original.notes.extend(notes.lines())
        if not self.counts_tokens and not _limit_of(body):
            original.made_up.add("max_tokens")
            note = f"emulate maxOutputTokens: the client sent none; {found['max_tokens']} at most"
            original.notes.append(note)
        return found

    def encoder(self, original: Original) -> ContentEncoder | CountEncoder:
        """Return the encoder of one reply."""
        if self.counts_tokens:
            return CountEncoder()
        names, shows = _remembered(original)
        as_array = self._streams and ("alt", "sse") not in parse_qsl(original.query)
        return ContentEncoder(Parts(names, shows_thoughts=shows), as_array=as_array)


def _limit_of(body: Mapping[str, Any]) -> Any:
    return config_of(named(body)).get("maxOutputTokens")


def _remembered(original: Original) -> tuple[ToolNames, bool]:
    """What the reply needs of the request: tool names, and whether thoughts are shown."""
    try:
        body = named(original.parsed)
        return names_of(declared(body)), shows_thoughts(config_of(body))
    except RequestRejected:
        return names_of([]), False
