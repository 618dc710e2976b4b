"""A call that a client demands in the server's own API, looked for in an answer that is relayed.

Only events that may hold a call are parsed, and none once it has come.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import Missing, Original, as_list, as_object

_MAY_CALL: Final = re.compile(rb'"tool_calls"|"function_call"|_call"')
_CALLS: Final = re.compile(r".{1,60}_call")
"""Types of items that are calls: `types/responses/response_output_item.py` of the `openai` SDK."""
_REFUSES: Final = re.compile(rb'"content_filter"|"refusal"\s*:\s*"[^"]|"response\.refusal\.')
"""A `finish_reason` or a reason for an incomplete answer, a member of a message, events."""
_MAX_CALLS: Final = 1000
_MAX_NAME: Final = 200


class Demand:
    """Whether an answer has a call that the client demands; it sees what the client gets."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """`names` of the tools of which one must be called; none for any call."""
        self._names = frozenset(names)
        self._came: dict[tuple[str, ...], str] = {}
        """The names of the calls so far: a name may come in pieces."""
        self._refused = False
        self.open = True
        """The call has not come yet."""

    @classmethod
    def of(cls, body: Mapping[str, Any] | Original) -> Demand | None:
        """What a request of Chat Completions or of Responses demands; None where nothing.

        Shapes: `types/chat/chat_completion_tool_choice_option_param.py` and
        `types/responses/tool_choice_*_param.py` of the `openai` SDK; `any` is Mistral's `required`.
        """
        choice = body.get("tool_choice") or body.get("function_call")
        if isinstance(choice, str):
            return cls(()) if choice in ("required", "any") else None
        told = as_object(choice)
        kind = told.get("type")
        if not told or kind in ("auto", "none"):
            return None
        if kind == "allowed_tools":
            told = as_object(told.get("allowed_tools")) or told
            names = [_name_in(as_object(tool)) for tool in as_list(told.get("tools"))]
            known = tuple(filter(None, names))
            return cls(known if len(known) == len(names) else ()) if _requires(told) else None
        name = _name_in(told) if kind in (None, "function", "custom", "tool") else ""
        return cls((name,) if name else ())

    def feed(self, data: bytes) -> None:
        """An event's data, or a whole answer."""
        if not self.open:
            return
        self._refused = self._refused or bool(_REFUSES.search(data))
        if not _MAY_CALL.search(data):
            return
        try:
            told = as_object(orjson.loads(data))
        except orjson.JSONDecodeError:
            return
        for choice in as_list(told.get("choices")):
            self._chat(as_object(choice))
        for item in _items(told):
            if isinstance(kind := item.get("type"), str) and _CALLS.fullmatch(kind):
                self._called(("item", str(item.get("id"))), item.get("name"))

    def missing(self) -> Missing | None:
        """The call; None once it has come."""
        if not self.open:
            return None
        name = next(iter(self._names)) if len(self._names) == 1 else ""
        which = f"the tool `{name}`" if name else "one of the tools"
        return Missing(f"the call to {which} that `tool_choice` requires", self._refused)

    def _chat(self, choice: Mapping[str, Any]) -> None:
        said = as_object(choice.get("delta")) or as_object(choice.get("message"))
        place = str(choice.get("index"))
        if "name" in (legacy := as_object(said.get("function_call"))):
            self._called((place, ""), legacy["name"])
        for number, item in enumerate(as_list(said.get("tool_calls"))):
            call = as_object(item)
            inner = as_object(call.get("function")) or as_object(call.get("custom"))
            self._called((place, str(call.get("index", number))), inner.get("name"))

    def _called(self, key: tuple[str, ...], piece: Any) -> None:
        """A call, or a piece of one, with what it says of its name."""
        if len(self._came) >= _MAX_CALLS and key not in self._came:
            return
        before = self._came.get(key, "")
        new = piece if isinstance(piece, str) and piece != before else ""
        self._came[key] = name = (before + new)[:_MAX_NAME]
        if not self._names or not self._names.isdisjoint((name, new)):
            self.open = False


def _items(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The items of an answer of Responses, or of one event."""
    response = as_object(told.get("response")) or told
    return [as_object(item) for item in (told.get("item"), *as_list(response.get("output")))]


def _requires(told: Mapping[str, Any]) -> bool:
    return told.get("mode") == "required"


def _name_in(told: Mapping[str, Any]) -> str:
    inner = as_object(told.get("function")) or as_object(told.get("custom")) or told
    name = inner.get("name")
    return name if isinstance(name, str) else ""
