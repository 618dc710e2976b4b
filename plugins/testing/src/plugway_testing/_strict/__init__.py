"""Upstreams that refuse what their vendors document as refused, in the vendors' words.

Four APIs, a module with rules for each; `refusals` asks them without a server.
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
from plugway_testing._strict._rules import Ask, Refusal, Rule, refused
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
"""The rules of each API, to be left out by their names."""
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
    """What the vendor would answer to a request, a sentence for each fault; empty for a good one.

    `body` is the parsed JSON. `without` are names of rules that do not count: `"known_fields"`, or
    `"chat.known_fields"` for one API only.
    """
    return [found.message for found in _refused(api, headers, path, body, without)]


def _refused(
    api: Api, headers: Headers, path: str, body: Any, without: Collection[str]
) -> list[Refusal]:
    if not isinstance(body, dict):
        return [Refusal("The body is not a JSON object.")]
    lower = {name.lower(): value for name, value in dict(headers).items()}
    names = {name.removeprefix(f"{api}.") for name in without}
    return refused(RULES[api], Ask(lower, path, as_object(body)), names)


def api_of(path: str) -> Api | None:
    """The API that a path belongs to; None for any other."""
    plain = urlsplit(path).path
    return next((api for end, api in _ENDS.items() if plain.endswith(end)), None)


def error_body(api: Api, refusal: Refusal) -> dict[str, Any]:
    """The vendor's envelope."""
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
    """A scripted upstream that first refuses what its vendor would refuse.

    A refused request takes no script. Requests for other paths than the API's are not looked at.
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
        """Every sentence that was answered or would have been, in order of arrival."""

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
    """While this is open, every `ScriptedUpstream` is looked at as the API of each path would.

    Gives the list of what would have been refused, with the path; what upstreams answer stays as it
    is scripted. `without` names rules (`"known_fields"`, `"chat.known_fields"`) or APIs (`"chat"`).
    """
    found: list[str] = []

    def look(request: ReceivedRequest) -> None:
        api = api_of(request.path)
        if api is not None and api not in without and request.method == "POST":
            told = _of_request(api, request, without)
            found.extend(f"{request.path}: {refusal.message}" for refusal in told)

    ScriptedUpstream.watchers.append(look)
    try:
        yield found
    finally:
        ScriptedUpstream.watchers.remove(look)
