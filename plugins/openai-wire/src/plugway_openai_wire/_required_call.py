"""Looks for the tool call that `tool_choice` requires in a relayed reply.

Only events that may contain a call are parsed, and none after it was found.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import Missing, Original, as_list, as_object

_MAY_CALL: Final = re.compile(rb'"tool_calls"|"function_call"|_call"')
_CALLS: Final = re.compile(r".{1,60}_call")
"""Item types of calls: `types/responses/response_output_item.py` of the `openai` SDK."""
_REFUSES: Final = re.compile(rb'"content_filter"|"refusal"\s*:\s*"[^"]|"response\.refusal\.')
"""A `finish_reason`, a reason for an incomplete response, a message field, or event types."""
_MAX_CALLS: Final = 1000
_MAX_NAME: Final = 200


class RequiredCall:
    """Checks whether a relayed reply contains the required call."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """One of the tools `names` must be called; if empty, any tool."""
        self._names = frozenset(names)
        self._called_names: dict[tuple[str, ...], str] = {}
        """Names of the calls so far; a name may arrive in pieces."""
        self._refused = False
        self.open = True
        """Whether the call is still missing."""

    @classmethod
    def of(cls, body: Mapping[str, Any] | Original) -> RequiredCall | None:
        """The call that a Chat or Responses request requires; None if it requires none.

        Shapes: `types/chat/chat_completion_tool_choice_option_param.py` and
        `types/responses/tool_choice_*_param.py` of the `openai` SDK; `any` is Mistral's `required`.
        """
        choice = body.get("tool_choice") or body.get("function_call")
        if isinstance(choice, str):
            return cls(()) if choice in ("required", "any") else None
        wanted = as_object(choice)
        kind = wanted.get("type")
        if not wanted or kind in ("auto", "none"):
            return None
        if kind == "allowed_tools":
            wanted = as_object(wanted.get("allowed_tools")) or wanted
            names = [_name_in(as_object(tool)) for tool in as_list(wanted.get("tools"))]
            known = tuple(filter(None, names))
            return cls(known if len(known) == len(names) else ()) if _requires(wanted) else None
        name = _name_in(wanted) if kind in (None, "function", "custom", "tool") else ""
        return cls((name,) if name else ())

    def feed(self, data: bytes) -> None:
        """Process an event's data, or a complete response."""
        if not self.open:
            return
        self._refused = self._refused or bool(_REFUSES.search(data))
        if not _MAY_CALL.search(data):
            return
        try:
            parsed = as_object(orjson.loads(data))
        except orjson.JSONDecodeError:
            return
        for choice in as_list(parsed.get("choices")):
            self._chat(as_object(choice))
        for item in _items(parsed):
            if isinstance(kind := item.get("type"), str) and _CALLS.fullmatch(kind):
                self._called(("item", str(item.get("id"))), item.get("name"))

    def missing(self) -> Missing | None:
        """Describe the missing call; None if it was found."""
        if not self.open:
            return None
        name = next(iter(self._names)) if len(self._names) == 1 else ""
        which = f"the tool `{name}`" if name else "one of the tools"
        return Missing(f"the call to {which} that `tool_choice` requires", self._refused)

    def _chat(self, choice: Mapping[str, Any]) -> None:
        message = as_object(choice.get("delta")) or as_object(choice.get("message"))
        place = str(choice.get("index"))
        if "name" in (legacy := as_object(message.get("function_call"))):
            self._called((place, ""), legacy["name"])
        for number, item in enumerate(as_list(message.get("tool_calls"))):
            call = as_object(item)
            inner = as_object(call.get("function")) or as_object(call.get("custom"))
            self._called((place, str(call.get("index", number))), inner.get("name"))

    def _called(self, key: tuple[str, ...], piece: Any) -> None:
        """Record a call, or a piece of one with part of its name."""
        if len(self._called_names) >= _MAX_CALLS and key not in self._called_names:
            return
        before = self._called_names.get(key, "")
        new = piece if isinstance(piece, str) and piece != before else ""
        self._called_names[key] = name = (before + new)[:_MAX_NAME]
        if not self._names or not self._names.isdisjoint((name, new)):
            self.open = False


def _items(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The items of a Responses response, or of one event."""
    response = as_object(data.get("response")) or data
    return [as_object(item) for item in (data.get("item"), *as_list(response.get("output")))]


def _requires(choice: Mapping[str, Any]) -> bool:
    return choice.get("mode") == "required"


def _name_in(choice: Mapping[str, Any]) -> str:
    inner = as_object(choice.get("function")) or as_object(choice.get("custom")) or choice
    name = inner.get("name")
    return name if isinstance(name, str) else ""
