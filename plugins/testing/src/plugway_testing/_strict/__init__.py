"""Upstreams that reject what their vendors document as invalid, with the vendors' messages.

There are four APIs, each with a module of rules; `refusals` checks a request without a server.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import orjson

from plugway import as_object
from plugway_testing._answers import Script, respond
from plugway_testing._strict import _anthropic, _chat, _gemini, _responses
from plugway_testing._strict._rules import Refusal, Request, Rule, refused
from plugway_testing._upstream import Answer, ReceivedRequest, ScriptedUpstream, default_answer

__all__ = ["RULES", "Api", "Refusal", "StrictUpstream", "api_of", "checking", "refusals"]

Api: TypeAlias = Literal["anthropic", "chat", "responses", "gemini"]
Headers: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]

RULES: Final[Mapping[Api, tuple[Rule, ...]]] = {
    "anthropic": _anthropic.RULES,
    "chat": _chat.RULES,
    "responses": _responses.RULES,
    "gemini": _gemini.RULES,
}
"""The rules of each API. Their names can be passed as `without`."""
_ENDS: Final[Mapping[str, Api]] = {
    "/messages": "anthropic",
    "/messages/count_tokens": "anthropic",
    "/chat/completions": "chat",
    "/responses": "responses",
    ":generateContent": "gemini",
    ":streamGenerateContent": "gemini",
    ":countTokens": "gemini",
}


def refusals(
    api: Api, headers: Headers, path: str, body: Any, *, without: Collection[str] = ()
) -> list[str]:
    """Return the errors that the vendor would report for a request; empty if it is valid.

    `body` is the parsed JSON. `without` names rules to skip: `"known_fields"`, or
    `"chat.known_fields"` for one API only.
    """
    return [found.message for found in _refused(api, headers, path, body, without)]


def _refused(
    api: Api, headers: Headers, path: str, body: Any, without: Collection[str]
) -> list[Refusal]:
    if not isinstance(body, dict):
        return [Refusal("The body is not a JSON object.")]
    body = _gemini.in_camel_case(body) if api == "gemini" else body
    lower = {name.lower(): value for name, value in dict(headers).items()}
    names = {name.removeprefix(f"{api}.") for name in without}
    return refused(RULES[api], Request(lower, path, as_object(body)), names)


def api_of(path: str) -> Api | None:
    """The API that a path belongs to; None for other paths."""
    plain = urlsplit(path).path
    return next((api for end, api in _ENDS.items() if plain.endswith(end)), None)


def error_body(api: Api, refusal: Refusal) -> dict[str, Any]:
    """The error in the vendor's envelope."""
    if api == "anthropic":
        kind = refusal.kind or "invalid_request_error"
        error: dict[str, Any] = {"type": kind, "message": refusal.message}
        return {"type": "error", "error": error, "request_id": "req_strict"}
    if api == "gemini":
        status = refusal.kind or "INVALID_ARGUMENT"
        error = {"code": refusal.status, "message": refusal.message, "status": status}
        return {"error": error}
    kind = refusal.kind or "invalid_request_error"
    return {
        "error": {
            "message": refusal.message,
            "type": kind,
            "param": refusal.param,
            "code": refusal.code,
        }
    }


class StrictUpstream(ScriptedUpstream):
    """A scripted upstream that first rejects what its vendor would reject.

    A rejected request does not use up a script. Requests to other paths are not checked.
    """

    def __init__(
        self,
        api: Api,
        *scripts: Answer,
        otherwise: Answer = default_answer,
        without: Collection[str] = (),
    ) -> None:
        super().__init__(*scripts, otherwise=otherwise)
        self._api: Api = api
        self._without = without
        self.refused: list[str] = []
        """Every error message that was or would have been sent, in order of arrival."""

    def _script_for(self, request: ReceivedRequest) -> Script:
        if api_of(request.path) != self._api or request.method != "POST":
            return super()._script_for(request)
        found = _of_request(self._api, request, self._without)
        self.refused += [refusal.message for refusal in found]
        if not found:
            return super()._script_for(request)
        return respond(found[0].status, error_body(self._api, found[0]))


def _of_request(api: Api, request: ReceivedRequest, without: Collection[str]) -> list[Refusal]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        return [Refusal("The body is not JSON.")]
    return _refused(api, request.headers, request.path, body, without)


@contextmanager
def checking(*, without: Collection[str] = ()) -> Generator[list[str]]:
    """Check every `ScriptedUpstream` against the API of each path, within the `with` block.

    Yields the list of violations, with their paths; the upstreams still follow their scripts.
    `without` names rules (`"known_fields"`, `"chat.known_fields"`) or APIs (`"chat"`) to skip.
    """
    found: list[str] = []

    def check(request: ReceivedRequest) -> None:
        api = api_of(request.path)
        if api is not None and api not in without and request.method == "POST":
            found_here = _of_request(api, request, without)
            found.extend(f"{request.path}: {refusal.message}" for refusal in found_here)

    ScriptedUpstream.watchers.append(check)
    try:
        yield found
    finally:
        ScriptedUpstream.watchers.remove(check)
