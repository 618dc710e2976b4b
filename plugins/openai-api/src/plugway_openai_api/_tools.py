"""Translates tools, tool choices and calls between OpenAI's APIs and the Messages API.

Chat nests a tool under its type (`{"type": "function", "function": {...}}`); Responses does not.
Both are read into the same `Tool`. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any, Final, Literal

import orjson

from plugway import InvalidRequest, as_list, as_object
from plugway_openai_api._client_tools import KINDS, described, is_client_run
from plugway_openai_api._fields import (
    invalid,
    objects,
    optional_object,
    optional_text,
    text,
    unsupported,
    wrong_type,
    wrong_value,
)
from plugway_translation import Notes, parse_arguments, safe_name, type_name, with_hash
from plugway_wire.bounds import is_deep

INPUT: Final = "input"
"""Name of the only argument of the function that emulates a `custom` tool with its plain text."""
UNPARSED: Final = "unparsed_arguments"
"""Name of the argument for call arguments that are not a JSON object."""
_HINTS: Final = ("defer_loading", "allowed_callers", "async", "output_schema")
"""Fields of a tool that only OpenAI's servers use."""


Key = tuple[str, str]
"""The namespace of a tool, or empty, and the client's name in it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool offered by the client."""

    name: str
    """The name sent to the model; a tool in a namespace is prefixed with the namespace."""
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    strict: bool = False
    custom: bool = False
    """The input is plain text."""
    typed: str = ""
    """The type of a typed tool that the client runs, such as `shell`; empty for others."""
    namespace: str = ""
    own: str = ""
    """The client's name, within the namespace if there is one."""
    cache_control: Any = None

    @property
    def key(self) -> Key:
        """What the client calls it by."""
        return self.namespace, self.own

    def block(self) -> dict[str, Any]:
        """The tool in the shape of the Messages API."""
        block: dict[str, Any] = {"name": self.name}
        if self.description:
            block["description"] = self.description
        block["input_schema"] = _CUSTOM_SCHEMA if self.custom else self.schema
        if self.strict:
            block["strict"] = True
        if self.cache_control is not None:
            block["cache_control"] = self.cache_control
        return block


_CUSTOM_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {INPUT: {"type": "string"}},
    "required": [INPUT],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ToolBook:
    """The tools of one request, to map calls back to what the client offered."""

    tools: Mapping[str, Tool]

    @classmethod
    def of(cls, tools: Iterable[Tool]) -> ToolBook:
        """Index the tools by the name sent to the model."""
        return cls({tool.name: tool for tool in tools})

    def get(self, name: object) -> Tool:
        """The tool of that name, or the only one that the client calls so, because prompts name a
        tool as the client does; another name yields a plain function."""
        name = str(name)
        if found := self.tools.get(name):
            return found
        meant = [tool for tool in self.tools.values() if tool.own == name]
        return meant[0] if len(meant) == 1 else Tool(name, own=name)


# ── tools ────────────────────────────────────────────────────────────────────────────────────────


def chat_tools(body: Mapping[str, Any], notes: Notes) -> list[Tool]:
    """The tools of a Chat request. Raises `InvalidRequest`."""
    found: list[Tool] = []
    for index, item in enumerate(objects(body, "tools", "tools")):
        path = f"tools[{index}]"
        kind = optional_text(item, "type", f"{path}.type") or "function"
        if kind not in ("function", "custom"):
            raise wrong_value(f"{path}.type", kind, "'function' and 'custom'")
        flat = kind not in item and "name" in item
        if flat:  # Cursor sends the tools of the Responses API
            notes.add("tools", "translate", "they are written as in the Responses API")
        path += "" if flat else f".{kind}"
        definition = item if flat else optional_object(item, kind, path)
        found.append(_tool(definition, kind, path, notes, item.get("cache_control")))
    return found


def response_tools(body: Mapping[str, Any], notes: Notes) -> list[Tool]:
    """The tools of a Responses request, including those found by a search.

    Tools that OpenAI runs are dropped with a note. Raises `InvalidRequest`.
    """
    found = _response_tools(objects(body, "tools", "tools"), "tools", notes)
    for index, item in enumerate(map(as_object, as_list(body.get("input")))):
        if item.get("type") in ("additional_tools", "tool_search_output"):
            path = f"input[{index}].tools"
            found += _response_tools(objects(item, "tools", path), path, notes)
    return _distinct(found, notes)


def _distinct(found: Sequence[Tool], notes: Notes) -> list[Tool]:
    """Each tool once, under a unique name: the later of two tools with one name gets a hash."""
    once = dict[str, tuple[int, Tool]]()
    for place, tool in sorted(enumerate(found), key=lambda item: bool(item[1].typed)):
        _, other = once.get(tool.name, (place, tool))
        if other.key != tool.key and not tool.typed:
            tool = replace(tool, name=with_hash(tool.name, "\0".join(tool.key)))
            notes.add("tools.name", "translate", "a hash, because another tool has the same name")
        _, other = once.setdefault(tool.name, (place, tool))
        if other is not tool and (tool.typed or other != tool):
            named = tool.typed or "name"
            notes.add(f"tools.{named}", "drop", "another tool has the same name")
    return [tool for _, tool in sorted(once.values(), key=itemgetter(0))]


def renamed(tools: Sequence[Tool]) -> dict[Key, str]:
    """The names sent to the model of tools whose name another tool has."""
    found = {tool.key: tool.name for tool in tools if tool.name != joined(*tool.key)}
    plain = {tool.key for tool in tools if tool.name == joined(*tool.key)}
    return {key: found[key] for key in found if key not in plain}


def joined(namespace: str, own: str) -> str:
    """The name sent to the model of a tool whose name no other tool has."""
    if namespace and not namespace.endswith("__"):
        namespace += "__"
    return safe_name(namespace + own)


def _response_tools(items: Sequence[dict[str, Any]], at: str, notes: Notes) -> list[Tool]:
    found: list[Tool] = []
    for index, item in enumerate(items):
        path = f"{at}[{index}]"
        match text(item, "type", f"{path}.type"):
            case "function" | "custom" as kind:
                found.append(_tool(item, kind, path, notes))
            case "namespace":
                name = text(item, "name", f"{path}.name")
                inner = objects(item, "tools", f"{path}.tools")
                found += [_inside(name, t) for t in _response_tools(inner, f"{path}.tools", notes)]
                notes.add(
                    "tools.namespace", "translate", "its name prefixes the names of its tools"
                )
            case kind if kind in KINDS and is_client_run(item):
                description, schema = described(item)
                found.append(Tool(kind, description, schema, own=kind, typed=kind))
                notes.add(
                    f"tools.{kind}", "translate", "offered as a function, which the client runs"
                )
            case kind:
                named = f"tools.{type_name(kind)}"
                notes.add(named, "drop", "OpenAI runs this tool; it cannot run here")
    return found


def _inside(namespace: str, tool: Tool) -> Tool:
    return Tool(
        joined(namespace, tool.name if tool.namespace else tool.own),
        tool.description,
        tool.schema,
        tool.strict,
        tool.custom,
        namespace=namespace,
        own=tool.own,
    )


def _tool(
    item: Mapping[str, Any], kind: str, path: str, notes: Notes, cache_control: Any = None
) -> Tool:
    own = text(item, "name", f"{path}.name")
    if not own:
        raise invalid(f"Invalid '{path}.name': empty string.")
    name = safe_name(own)
    if name != own:
        notes.add("tools.name", "translate", "other characters and a hash; restored in the reply")
    description = optional_text(item, "description", f"{path}.description")
    for hint in _HINTS:
        if item.get(hint):
            notes.add(f"tools.{hint}", "drop", "it works only inside OpenAI's servers")
    if kind == "custom":
        notes.add("tools.custom", "emulate", f"a function with one text, `{INPUT}`")
        description = _with_grammar(description, as_object(item.get("format")))
        return Tool(name, description, custom=True, own=own)
    schema = optional_object(item, "parameters", f"{path}.parameters")
    if schema.get("type") != "object":
        if schema:
            notes.add("tools.parameters", "translate", "the root of a schema must be an object")
        schema = {**schema, "type": "object"}
        schema.setdefault("properties", {})
    strict = item.get("strict") is True
    return Tool(name, description, schema, strict, own=own, cache_control=cache_control)


def _with_grammar(description: str, form: dict[str, Any]) -> str:
    """Append the grammar of a `custom` tool's input to its description; it is not enforced."""
    grammar = as_object(form.get("grammar")) or form
    definition = grammar.get("definition")
    if not isinstance(definition, str):
        return description
    rule = f"`{INPUT}` must match this {grammar.get('syntax')} grammar:\n{definition}"
    return f"{description}\n\n{rule}" if description else rule


# ── tool choice ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tools the model may or must call."""

    mode: Literal["auto", "any", "none", "tool"]
    names: tuple[str, ...] | None = None
    """The allowed tools (exactly one in mode `tool`); None allows all."""
    own: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the client calls them, for messages."""

    @classmethod
    def of(cls, mode: Literal["auto", "any", "tool"], chosen: Iterable[tuple[str, str]]) -> Choice:
        """The choice of tools, each with what the client calls it."""
        own = dict(chosen)
        return cls(mode, tuple(own), own)

    def unknown(self, name: str) -> InvalidRequest:
        """The error for a tool that is not offered."""
        return invalid(f"Invalid value for 'tool_choice': {self.own[name]} is not in 'tools'.")


_NONE: Final[Mapping[Key, str]] = {}
_MODES: Final = {"auto": Choice("auto"), "required": Choice("any"), "none": Choice("none")}


def choice_of(body: Mapping[str, Any], names: Mapping[Key, str] = _NONE) -> Choice | None:
    """`tool_choice` of either API; None if not set. `names` comes from `renamed`.

    Raises `InvalidRequest`.
    """
    value = body.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _MODES:
            raise wrong_value("tool_choice", value, "'none', 'auto' and 'required'")
        return _MODES[value]
    if not isinstance(value, dict):
        raise wrong_type("tool_choice", "a string or an object", value)
    choice = as_object(value)
    match choice.get("type"):
        case "function" | "custom":
            return Choice.of("tool", [_chosen(choice, "tool_choice", names)])
        case "allowed_tools":
            choice = as_object(choice.get("allowed_tools")) or choice
            tools = objects(choice, "tools", "tool_choice.tools")
            chosen = [_chosen(t, "tool_choice.tools", names) for t in tools if _callable(t)]
            return Choice.of("any" if choice.get("mode") == "required" else "auto", chosen)
        case kind if str(kind) in KINDS:
            return Choice.of("tool", [(str(kind), f"'{kind}'")])
        case kind:
            raise unsupported(
                "tool_choice", f"a tool of type `{kind}` runs only on OpenAI's servers"
            )


def _callable(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") in ("function", "custom", *KINDS)


def _chosen(choice: Mapping[str, Any], path: str, names: Mapping[Key, str]) -> tuple[str, str]:
    """The name sent to the model, and what the client calls the tool."""
    if str(choice.get("type")) in KINDS:
        return str(choice["type"]), f"'{choice['type']}'"
    inner = as_object(choice.get("function")) or as_object(choice.get("custom")) or choice
    name = text(inner, "name", f"{path}.name")
    namespace = choice.get("namespace")
    if not isinstance(namespace, str):
        return names.get(("", name)) or safe_name(name), f"'{name}'"
    shown = f"'{name}' of the namespace '{namespace}'"
    return names.get((namespace, name)) or joined(namespace, name), shown


def offered(
    tools: Sequence[Tool], choice: Choice | None, *, parallel: bool | None, notes: Notes
) -> dict[str, Any]:
    """Return `tools` and `tool_choice` of the Messages API; empty if there are no tools.

    Raises `InvalidRequest` if the required tool is not among `tools`.
    """
    allowed = choice.names if choice else None
    if choice and choice.mode != "tool" and allowed is not None:
        if missing := sorted(set(allowed) - {tool.name for tool in tools}):
            raise choice.unknown(missing[0])
        tools = [tool for tool in tools if tool.name in allowed]
        notes.add("tool_choice", "translate", "disallowed tools are left out")
    elif choice and allowed and allowed[0] not in {tool.name for tool in tools}:
        raise choice.unknown(allowed[0])
    if not tools:
        if choice and choice.mode in {"any", "tool"}:
            raise invalid("Invalid value for 'tool_choice': only allowed when 'tools' are given.")
        return {}
    found: dict[str, Any] = {"tools": [tool.block() for tool in tools]}
    once = parallel is False and not (choice and choice.mode == "none")
    if choice or once:
        tool_choice: dict[str, Any] = {"type": choice.mode if choice else "auto"}
        if choice and choice.mode == "tool" and allowed:
            tool_choice["name"] = allowed[0]
        if once:
            tool_choice["disable_parallel_tool_use"] = True
        found["tool_choice"] = tool_choice
    return found


# ── calls ────────────────────────────────────────────────────────────────────────────────────────


def call_input(call: Mapping[str, Any], path: str, notes: Notes) -> dict[str, Any]:
    """Parse the `arguments` of a call in the conversation; `path` is their place in the request.

    Some clients and servers send an object instead of JSON text. Raises `InvalidRequest`.
    """
    if isinstance(given := call.get("arguments"), dict):
        return as_object(given)
    arguments = optional_text(call, "arguments", path)
    found = parse_arguments(arguments)
    if found is None or is_deep(arguments.encode()):
        reason = "not a JSON object" if found is None else "nested too deeply"
        notes.add("arguments", "translate", f"{reason}; sent as `{UNPARSED}`")
        return {UNPARSED: arguments}
    return found


def call_arguments(value: Any) -> str:
    """A call's input as JSON text."""
    found = as_object(value)
    if list(found) == [UNPARSED] and isinstance(found[UNPARSED], str):
        return found[UNPARSED]
    return orjson.dumps(found).decode()


def custom_input(value: Any) -> str:
    """The plain text in the input of a `custom` tool call."""
    found = as_object(value)
    inner = found.get(INPUT)
    return inner if isinstance(inner, str) else orjson.dumps(found).decode()


def custom_input_of(arguments: str) -> str:
    """The plain text of a `custom` tool call, from streamed argument JSON.

    Text that is not a JSON object is returned unchanged.
    """
    found = parse_arguments(arguments)
    return arguments if found is None else custom_input(found)


def texts(parts: Any) -> str:
    """Concatenate the texts of a list of parts."""
    found = [as_object(part).get("text") for part in as_list(parts)]
    return "".join(part for part in found if isinstance(part, str))
