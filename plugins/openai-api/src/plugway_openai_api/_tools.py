"""Tools and the choice among them, between OpenAI's shapes and the Messages API. Pure functions.

Chat nests a tool under its type (`{"type": "function", "function": {...}}`), Responses does not;
both readers give the same `Tool`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from plugway import as_list, as_object
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
from plugway_translation import Notes, parse_arguments, safe_name, type_name

INPUT: Final = "input"
"""The one argument of the function that stands for a `custom` tool, whose input is plain text."""
UNPARSED: Final = "unparsed_arguments"
"""The argument that holds what a model once wrote and is no JSON object."""
_HINTS: Final = ("defer_loading", "allowed_callers", "async", "output_schema")
"""Members of a tool that speak of OpenAI's own way of calling it."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that a client offers."""

    name: str
    """As the model sees it; a tool in a namespace carries its name in front."""
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict[str, Any])
    strict: bool = False
    custom: bool = False
    """Its input is plain text."""
    typed: str = ""
    """Its type, where the client knows it by one of its own: `shell` and its like."""
    namespace: str = ""
    own: str = ""
    """The client's name for it, inside of the namespace where there is one."""
    cache_control: Any = None

    def block(self) -> dict[str, Any]:
        """The tool as the Messages API has it."""
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
    """The tools of one request, for naming calls as the client knows them."""

    tools: Mapping[str, Tool]

    @classmethod
    def of(cls, tools: Iterable[Tool]) -> ToolBook:
        """By the name that the model sees."""
        return cls({tool.name: tool for tool in tools})

    def get(self, name: object) -> Tool:
        """The tool of that name; a plain function where the client offered none such."""
        found = self.tools.get(str(name))
        return found or Tool(str(name), own=str(name))


# ── reading ──────────────────────────────────────────────────────────────────────────────────────


def chat_tools(body: Mapping[str, Any], notes: Notes) -> list[Tool]:
    """The tools of a Chat request. Raises `InvalidRequest`."""
    found: list[Tool] = []
    for index, item in enumerate(objects(body, "tools", "tools")):
        path = f"tools[{index}]"
        kind = optional_text(item, "type", f"{path}.type") or "function"
        if kind not in ("function", "custom"):
            raise wrong_value(f"{path}.type", kind, "'function' and 'custom'")
        path += f".{kind}"
        told = optional_object(item, kind, path)
        found.append(_tool(told, kind, path, notes, item.get("cache_control")))
    return found


def response_tools(body: Mapping[str, Any], notes: Notes) -> list[Tool]:
    """The tools of a Responses request, those that a search brought too; what OpenAI itself runs
    is left out.

    Raises `InvalidRequest`.
    """
    found = _response_tools(objects(body, "tools", "tools"), "tools", notes)
    for index, item in enumerate(map(as_object, as_list(body.get("input")))):
        if item.get("type") in ("additional_tools", "tool_search_output"):
            path = f"input[{index}].tools"
            found += _response_tools(objects(item, "tools", path), path, notes)
    once = dict[str, Tool]()
    for tool in sorted(found, key=lambda tool: bool(tool.typed)):
        if tool.typed and tool.name in once:
            notes.add(f"tools.{tool.typed}", "drop", "another tool has the same name")
        once.setdefault(tool.name, tool)
    return [tool for tool in found if once[tool.name] is tool]


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
    joined = namespace if namespace.endswith("__") else f"{namespace}__"
    return Tool(
        safe_name(joined + (tool.name if tool.namespace else tool.own)),
        tool.description,
        tool.schema,
        tool.strict,
        tool.custom,
        namespace=namespace,
        own=tool.own,
    )


def _tool(
    told: Mapping[str, Any], kind: str, path: str, notes: Notes, cache_control: Any = None
) -> Tool:
    own = text(told, "name", f"{path}.name")
    if not own:
        raise invalid(f"Invalid '{path}.name': empty string.")
    name = safe_name(own)
    if name != own:
        notes.add("tools.name", "translate", "other characters and a hash; restored in the reply")
    description = optional_text(told, "description", f"{path}.description")
    for hint in _HINTS:
        if told.get(hint):
            notes.add(f"tools.{hint}", "drop", "it works only inside OpenAI's servers")
    if kind == "custom":
        notes.add("tools.custom", "emulate", f"a function with one text, `{INPUT}`")
        description = _with_grammar(description, as_object(told.get("format")))
        return Tool(name, description, custom=True, own=own)
    schema = optional_object(told, "parameters", f"{path}.parameters")
    if schema.get("type") != "object":
        if schema:
            notes.add("tools.parameters", "translate", "the root of a schema must be an object")
        schema = {**schema, "type": "object"}
        schema.setdefault("properties", {})
    strict = told.get("strict") is True
    return Tool(name, description, schema, strict, own=own, cache_control=cache_control)


def _with_grammar(description: str, form: dict[str, Any]) -> str:
    """The grammar of a `custom` tool's input, told in words: nothing enforces it here."""
    grammar = as_object(form.get("grammar")) or form
    definition = grammar.get("definition")
    if not isinstance(definition, str):
        return description
    told = f"`{INPUT}` must match this {grammar.get('syntax')} grammar:\n{definition}"
    return f"{description}\n\n{told}" if description else told


# ── the choice ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Choice:
    """What the client wants called."""

    mode: Literal["auto", "any", "none", "tool"]
    names: tuple[str, ...] | None = None
    """The only tools allowed; of mode `tool` the one; None for all."""


_MODES: Final = {"auto": Choice("auto"), "required": Choice("any"), "none": Choice("none")}


def choice_of(body: Mapping[str, Any]) -> Choice | None:
    """`tool_choice` of either API; None where the client does not say. Raises `InvalidRequest`."""
    value = body.get("tool_choice")
    if value is None:
        return None
    if isinstance(value, str):
        if value not in _MODES:
            raise wrong_value("tool_choice", value, "'none', 'auto' and 'required'")
        return _MODES[value]
    if not isinstance(value, dict):
        raise wrong_type("tool_choice", "a string or an object", value)
    told = as_object(value)
    match told.get("type"):
        case "function" | "custom":
            return Choice("tool", (_chosen(told, "tool_choice"),))
        case "allowed_tools":
            told = as_object(told.get("allowed_tools")) or told
            tools = objects(told, "tools", "tool_choice.tools")
            names = [_chosen(t, "tool_choice.tools") for t in tools if _callable(t)]
            mode = "any" if told.get("mode") == "required" else "auto"
            return Choice(mode, tuple(names))
        case kind if str(kind) in KINDS:
            return Choice("tool", (str(kind),))
        case kind:
            raise unsupported(
                "tool_choice", f"a tool of type `{kind}` runs only on OpenAI's servers"
            )


def _callable(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") in ("function", "custom", *KINDS)


def _chosen(told: Mapping[str, Any], path: str) -> str:
    if str(told.get("type")) in KINDS:
        return str(told["type"])
    inner = as_object(told.get("function")) or as_object(told.get("custom")) or told
    name = text(inner, "name", f"{path}.name")
    namespace = told.get("namespace")
    if isinstance(namespace, str):
        return _inside(namespace, Tool(name, own=name)).name
    return safe_name(name)


def offered(
    tools: Sequence[Tool], choice: Choice | None, *, parallel: bool | None, notes: Notes
) -> dict[str, Any]:
    """`tools` and `tool_choice` of the Messages API; neither where there are no tools.

    Raises `InvalidRequest` where a call is demanded and cannot be made.
    """
    allowed = choice.names if choice else None
    if choice and choice.mode != "tool" and allowed is not None:
        if missing := sorted(set(allowed) - {tool.name for tool in tools}):
            raise invalid(f"Invalid value for 'tool_choice': '{missing[0]}' is not in 'tools'.")
        tools = [tool for tool in tools if tool.name in allowed]
        notes.add("tool_choice", "translate", "disallowed tools are left out")
    elif allowed and allowed[0] not in {tool.name for tool in tools}:
        raise invalid(f"Invalid value for 'tool_choice': '{allowed[0]}' is not in 'tools'.")
    if not tools:
        if choice and choice.mode in {"any", "tool"}:
            raise invalid("Invalid value for 'tool_choice': only allowed when 'tools' are given.")
        return {}
    found: dict[str, Any] = {"tools": [tool.block() for tool in tools]}
    once = parallel is False and not (choice and choice.mode == "none")
    if choice or once:
        told: dict[str, Any] = {"type": choice.mode if choice else "auto"}
        if choice and choice.mode == "tool" and allowed:
            told["name"] = allowed[0]
        if once:
            told["disable_parallel_tool_use"] = True
        found["tool_choice"] = told
    return found


# ── calls ────────────────────────────────────────────────────────────────────────────────────────


def call_input(call: Mapping[str, Any], path: str, notes: Notes) -> dict[str, Any]:
    """The input of a call in the conversation, from the JSON text of its `arguments`, which stand
    at `path`; several clients and servers write the object itself. Raises `InvalidRequest`."""
    if isinstance(given := call.get("arguments"), dict):
        return as_object(given)
    arguments = optional_text(call, "arguments", path)
    found = parse_arguments(arguments)
    if found is None:
        notes.add("arguments", "translate", f"not a JSON object; sent as `{UNPARSED}`")
        return {UNPARSED: arguments}
    return found


def call_arguments(value: Any) -> str:
    """The JSON text of a call's input."""
    found = as_object(value)
    if list(found) == [UNPARSED] and isinstance(found[UNPARSED], str):
        return found[UNPARSED]
    return orjson.dumps(found).decode()


def custom_input(value: Any) -> str:
    """The plain text that a call of a `custom` tool was given."""
    found = as_object(value)
    inner = found.get(INPUT)
    return inner if isinstance(inner, str) else orjson.dumps(found).decode()


def custom_input_of(arguments: str) -> str:
    """The same from the JSON text of the arguments, as a stream has it; what is no object is the
    input itself."""
    found = parse_arguments(arguments)
    return arguments if found is None else custom_input(found)


def texts(parts: Any) -> str:
    """All texts of a list of parts."""
    found = [as_object(part).get("text") for part in as_list(parts)]
    return "".join(part for part in found if isinstance(part, str))
