"""The tools of a request, and the verdict on a call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import orjson

from plugway import as_list, as_object
from plugway_tool_repair._arguments import Fitter, dumps, normal
from plugway_toolcalls import Tool, plain_name
from plugway_translation import ids_of_calls, is_placeholder, safe_name

_MAX_NAMED: Final = 40
MOST_JUDGED: Final = 20_000
"""Maximum values in the arguments of a call; with more they are passed on unchanged, because no
tool takes so many and checking them would block the event loop."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of checking a call."""

    name: str
    arguments: str
    """Arguments as JSON text."""
    fixes: tuple[str, ...] = ()
    """The repairs; empty if the call is unchanged."""
    problems: tuple[str, ...] = ()
    """The remaining problems; empty if the call is valid."""

    @property
    def is_readable(self) -> bool:
        """Whether the arguments are a JSON object, valid or not."""
        return _is_object(self.arguments)

    @property
    def key(self) -> tuple[str, bytes]:
        """Equal for equal calls; short, however long the arguments are."""
        try:
            text = orjson.dumps(orjson.loads(self.arguments), option=orjson.OPT_SORT_KEYS)
        except (orjson.JSONDecodeError, TypeError):  # orjson parses deeper nesting than it writes
            text = self.arguments.encode("utf-8", "replace")
        return self.name, sha256(text).digest()


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


class Toolbox:
    """The tools that the model may call."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.tools: dict[str, Tool] = {}
        self._body = body
        if as_object(body.get("tool_choice")).get("type") != "none":
            for entry in as_list(body.get("tools")):
                item = as_object(entry)
                name = item.get("name")
                if isinstance(name, str) and name and not is_placeholder(item):
                    self.tools[name] = Tool(name, schema=as_object(item.get("input_schema")))
        choice = as_object(body.get("tool_choice"))
        name = choice.get("name")
        named = isinstance(name, str) and name in self.tools
        self.forced: str | None = None
        """The tool that must be called, empty for any; None if the model may choose."""
        if self.tools and (choice.get("type") == "any" or (choice.get("type") == "tool" and named)):
            self.forced = str(choice["name"]) if choice["type"] == "tool" else ""
        self._index()

    def __bool__(self) -> bool:
        return bool(self.tools)

    def of_client(self, names: Iterable[str]) -> Toolbox:
        """The same tools under the client's own names, for a model that gets its request as it is.

        `names` are in the client's API; those of tools that may not be called are skipped.
        """
        found = copy(self)
        tools = ((name, self.tools.get(safe_name(name))) for name in names)
        found.tools = {name: Tool(name, schema=tool.schema) for name, tool in tools if tool}
        found._index()
        return found

    def _index(self) -> None:
        self._close: dict[str, list[str]] = {}
        for name in self.tools:
            self._close.setdefault(normal(name), []).append(name)

    @cached_property
    def used_ids(self) -> set[str]:
        """Ids of the calls in the conversation, which new calls must not have. Computed on first
        use, because a relayed request is not parsed otherwise."""
        return ids_of_calls(as_list(self._body.get("messages")))

    def named(self, name: str) -> str | None:
        """The only tool that `name` can mean, or None."""
        if name in self.tools:
            return name
        name = plain_name(name)
        if name in self.tools:
            return name
        close = self._close.get(normal(name), [])
        return close[0] if len(close) == 1 else None

    def called(self, name: str) -> str:
        """The call for the receipt: with the tool's name, unless the model made it up."""
        return f"the call to `{name}`" if name in self.tools else "a call"

    def judge(self, name: str, arguments: str) -> Verdict:
        """The call, unchanged or repaired, with its remaining problems."""
        real = self.named(name)
        if real is None:
            names = ", ".join(list(self.tools)[:_MAX_NAMED])
            problem = f"there is no tool `{name[:100]}`; there are: {names}"
            return Verdict(name, arguments, problems=(problem,))
        if arguments.count(",") > MOST_JUDGED and _is_object(arguments):
            return Verdict(real, arguments, () if real == name else (f"it is called `{real}`",))
        fitter = Fitter(self.tools[real].schema)
        value, problems = fitter.fit_text(arguments)
        fixes = fitter.fixes if real == name else [f"it is called `{real}`", *fitter.fixes]
        if problems:
            return Verdict(real, arguments, problems=tuple(problems))
        if not fixes:
            return Verdict(name, arguments)
        return Verdict(real, dumps(value), tuple(fixes))
