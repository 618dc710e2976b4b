"""The tools of a request, and the verdict on a call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Final

import orjson

from plugway import InvalidRequest, Original, as_list, as_object
from plugway_tool_repair._arguments import Fitter, normal
from plugway_toolcalls import Tool, dumps, known_name, plain_name
from plugway_translation import (
    ids_of_calls,
    is_placeholder,
    readable_text,
    remembered,
    safe_name,
)

_MAX_NAMED: Final = 40
_CORE: Final = re.compile(r"[<\[{].*[>\]}]", re.DOTALL)
"""A call in text, without a Markdown fence around it."""
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
        return is_object(self.arguments)

    @property
    def key(self) -> tuple[str, bytes]:
        """Equal for equal calls; short, however long the arguments are."""
        try:
            text = orjson.dumps(orjson.loads(self.arguments), option=orjson.OPT_SORT_KEYS)
        except (orjson.JSONDecodeError, TypeError):  # orjson parses deeper nesting than it writes
            text = self.arguments.encode("utf-8", "replace")
        return self.name, sha256(text).digest()


def is_object(text: str) -> bool:
    """Whether `text` is a JSON object."""
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def client_names(original: Original | None) -> list[tuple[str, str]]:
    """The name of each tool in the client's own API, with its namespace or an empty text."""
    if original is None:
        return []
    try:
        return _named_in(original.get("tools"))
    except InvalidRequest:
        return []


def _named_in(tools: Any, namespace: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for tool in map(as_object, as_list(tools)):
        holder = as_object(tool.get("function")) or as_object(tool.get("custom")) or tool
        name = holder.get("name")
        if isinstance(name, str) and tool.get("type") != "namespace":
            found.append((namespace, name))
        elif isinstance(name, str) and not namespace:
            found += _named_in(tool.get("tools"), name)
    return found


@remembered
def _indexed(tools: Sequence[Any]) -> tuple[dict[str, Tool], dict[str, list[str]]]:
    """The tools that can be called, by name, and their names by what they are close to."""
    found: dict[str, Tool] = {}
    for item in map(as_object, tools):
        name = item.get("name")
        if isinstance(name, str) and name and not is_placeholder(item):
            found[name] = Tool(name, schema=as_object(item.get("input_schema")))
    return found, _close_names(found)


def _close_names(names: Iterable[str]) -> dict[str, list[str]]:
    close: dict[str, list[str]] = {}
    for name in names:
        close.setdefault(normal(name), []).append(name)
    return close


class Toolbox:
    """The tools that the model may call."""

    def __init__(self, body: Mapping[str, Any], client: Sequence[tuple[str, str]] = ()) -> None:
        """`client` comes from `client_names`: prompts name a tool as the client does."""
        self._body = body
        choice = as_object(body.get("tool_choice"))
        callable_ = as_list(body.get("tools")) if choice.get("type") != "none" else []
        self.tools, self._close = _indexed(callable_)
        name = choice.get("name")
        named = isinstance(name, str) and name in self.tools
        self.forced: str | None = None
        """The tool that must be called, empty for any; None if the model may choose."""
        if self.tools and (choice.get("type") == "any" or (choice.get("type") == "tool" and named)):
            self.forced = str(choice["name"]) if choice["type"] == "tool" else ""
        self._own = self._own_names(client)
        """Names of the client, each for the only tool that it can mean."""
        if self._own:
            named_so = {o: Tool(o, schema=self.tools[n].schema) for o, n in self._own.items()}
            self.tools = {**self.tools, **named_so}

    def _own_names(self, client: Sequence[tuple[str, str]]) -> dict[str, str]:
        meant: dict[str, set[str]] = {}
        users: Counter[str] = Counter()
        for namespace, own in client:
            joint = "__" if namespace and not namespace.endswith("__") else ""
            name = safe_name(f"{namespace}{joint}{own}")
            users[name] += 1
            meant.setdefault(own, set()).add(name)
        found = {own: min(names) for own, names in meant.items() if len(names) == 1}
        return {
            own: name
            for own, name in found.items()
            if own not in self.tools and name in self.tools and users[name] == 1
        }

    def __bool__(self) -> bool:
        return bool(self.tools)

    def of_client(self, names: Iterable[str]) -> Toolbox:
        """The same tools under the client's own names, for a model that gets its request as it is.

        `names` are in the client's API; those of tools that may not be called are skipped.
        """
        found = copy(self)
        tools = ((name, self.tools.get(safe_name(name))) for name in names)
        found.tools = {name: Tool(name, schema=tool.schema) for name, tool in tools if tool}
        found._own = {}
        found._close = _close_names(found.tools)
        return found

    @cached_property
    def used_ids(self) -> set[str]:
        """Ids of the calls in the conversation, which new calls must not have. Computed on first
        use, because a relayed request is not parsed otherwise."""
        return ids_of_calls(as_list(self._body.get("messages")))

    @cached_property
    def _results(self) -> str:
        """The texts of all results of tools, without spaces."""
        contents = [
            as_list(as_object(m).get("content")) for m in as_list(self._body.get("messages"))
        ]
        blocks = [as_object(block) for content in contents for block in content]
        found = (b.get("content") for b in blocks if str(b.get("type")).endswith("tool_result"))
        return "".join("\n".join(map(readable_text, found)).split())

    def is_quoted(self, source: str) -> bool:
        """Whether the result of a tool contains calls that were written as text: the model quotes
        what somebody else wrote."""
        found = _CORE.search(source)
        return found is not None and "".join(found[0].split()) in self._results

    def named(self, name: str) -> str | None:
        """The only tool that `name` can mean, or None."""
        known = known_name(name, self.tools)
        if known is not None:
            return self._own.get(known, known)
        name = plain_name(name)
        close = self._close.get(normal(name), [])
        return close[0] if len(close) == 1 else None

    def called(self, name: str) -> str:
        """The call for the receipt: with the tool's name, unless the model made it up."""
        return f"the call to `{name}`" if name in self.tools else "a call"

    def judge(self, name: str, arguments: str) -> Verdict:
        """The call, unchanged or repaired, with its remaining problems."""
        real = self.named(name)
        if real is None:
            real_names = [tool for tool in self.tools if tool not in self._own]
            names = ", ".join(real_names[:_MAX_NAMED])
            problem = f"there is no tool `{name[:100]}`; there are: {names}"
            return Verdict(name, arguments, problems=(problem,))
        if arguments.count(",") > MOST_JUDGED and is_object(arguments):
            return Verdict(real, arguments, () if real == name else (f"it is called `{real}`",))
        fitter = Fitter(self.tools[real].schema)
        value, problems = fitter.fit_text(arguments)
        fixes = fitter.fixes if real == name else [f"it is called `{real}`", *fitter.fixes]
        if problems:
            return Verdict(real, arguments, problems=tuple(problems))
        if not fixes:
            return Verdict(name, arguments)
        try:
            return Verdict(real, dumps(value), tuple(fixes))
        except ValueError:
            problem = "a number in the arguments is too large for JSON"
            return Verdict(real, arguments, problems=(problem,))
