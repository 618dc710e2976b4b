"""Fields that clients of OpenAI's APIs send and the Messages API lacks, for servers that have them.

A request is translated to the Messages API and from there to the server's; without this, a field
that both ends have would be lost in between. Names and places: `types/chat/
completion_create_params.py` and `types/responses/response_create_params.py` of the `openai` SDK.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import MessagesRequest, Original, as_object
from plugway_capabilities import Facts
from plugway_translation import Effort, Notes, effort_of

CHAT: Final = "openai-chat"
"""The dialect of clients that use Chat Completions."""
RESPONSES: Final = "openai-responses"
"""The dialect of clients that use the Responses API."""

USERS: Final = frozenset(("safety_identifier", "user"))
"""Fields that are `metadata.user_id` in the Messages API."""
_SHARED: Final = (
    *("metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
    *("safety_identifier", "service_tier", "store", "user"),
)
_FIELDS: Final = {
    CHAT: {*_SHARED, "frequency_penalty", "logit_bias", "prediction", "presence_penalty", "seed"},
    RESPONSES: {
        *_SHARED,
        *("access_programs", "client_metadata", "context_management", "max_tool_calls"),
        "truncation",
    },
}
"""Fields of each API that the Messages API lacks, and that have no effect on a reply's form."""
_LONGEST: Final = {"prompt_cache_key": 64, "safety_identifier": 128, "user": 64}
"""Characters that OpenAI accepts (400 `string_above_max_length`)."""
_VERBOSITY: Final = {CHAT: "verbosity", RESPONSES: "text.verbosity"}
_EFFORT: Final = {CHAT: "reasoning_effort", RESPONSES: "reasoning.effort"}


@dataclass(frozen=True, slots=True)
class Carried:
    """What is carried over from one request to the server."""

    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Fields to send, by their path in the server's API."""
    is_minimal: bool = False
    """The client asks for the effort `minimal`, which the Messages API lacks."""
    names: frozenset[str] = frozenset()
    """What the client calls them, as in the notes of its dialect."""

    def losses(self, notes: Iterable[str]) -> list[str]:
        """Those of a dialect's notes that are not about what is carried over."""
        return [note for note in notes if _named(note) not in self.names]

    def effort_of(self, body: Mapping[str, Any]) -> Effort | None:
        """The effort of a Messages request, or the client's own if that is `minimal`."""
        effort = effort_of(body)
        return "minimal" if self.is_minimal and effort == "low" else effort

    def add_to(self, found: dict[str, Any], facts: Facts, notes: Notes) -> None:
        """Set the fields in a translated request; note those whose value the model rejects."""
        for path, value in self.fields.items():
            known = facts.allowed_values.get(path)
            if known and isinstance(value, str) and value not in known:
                notes.add(path, "drop", f"the model accepts only {', '.join(known)}")
                continue
            name, _, member = path.partition(".")
            found[name] = {**as_object(found.get(name)), member: value} if member else value


NOTHING: Final = Carried()


def carried(
    request: MessagesRequest, dialect: str, accepted: Collection[str] | None = None
) -> Carried:
    """What the client's request says that a server of `dialect` understands.

    `accepted` are the shared fields that the server has; None: all. A client of the server's own
    API decides itself what it sends. What a plugin changed in the Messages request stays as the
    plugin set it.
    """
    original = request.original
    if original is None or original.dialect not in _FIELDS:
        return NOTHING
    changed = {change.field for change in request.changes}
    names = _FIELDS[original.dialect] & _FIELDS[dialect]
    names -= changed - {"metadata"}  # in the Messages API it has another meaning: the user
    if "metadata" in changed:
        names -= USERS
    values = {name: original.get(name) for name in names}
    found = {name: value for name, value in values.items() if _is_sent(name, value)}
    verbosity, own = _verbosity(original), original.dialect == dialect
    if verbosity is not None:
        found[_VERBOSITY[dialect]] = verbosity
    if not own and dialect == CHAT and found.get("store") is not True:
        found.pop("metadata", None)  # 400 "… only allowed when 'store' is enabled"
    if not own and accepted is not None:
        found = {name: value for name, value in found.items() if name in accepted}
    named = {_VERBOSITY[original.dialect] if n == _VERBOSITY[dialect] else n for n in found}
    is_minimal = _effort(original) == "minimal"
    if is_minimal:
        named.add(_EFFORT[original.dialect])
    return Carried(found, is_minimal, frozenset(named))


def _is_sent(name: str, value: Any) -> bool:
    """Whether a value says something and is not too long: of such a text a hash is sent."""
    if isinstance(value, str):
        return 0 < len(value) <= _LONGEST.get(name, len(value))
    return value is not None and value not in ({}, [])


def _verbosity(original: Original) -> Any:
    if original.dialect == CHAT:
        return original.get("verbosity")
    return as_object(original.get("text")).get("verbosity")


def _effort(original: Original) -> Any:
    if original.dialect == CHAT:
        return original.get("reasoning_effort")
    return as_object(original.get("reasoning")).get("effort")


def _named(note: str) -> str:
    """The field that a note is about: `drop seed: there is none`."""
    return note.partition(": ")[0].partition(" ")[2]
