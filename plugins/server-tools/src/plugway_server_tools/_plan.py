"""Decide what to do with the typed tools of a request for one backend. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from plugway import Attempt, InvalidRequest, SpeaksMessages, as_list, as_object
from plugway_server_tools._known import (
    CLIENT_TOOLS,
    SERVER_TOOLS,
    UNDESCRIBED,
    ServerTool,
    base_of,
    client_function,
)
from plugway_wire.protocols import implements

_CARRIED = ("cache_control", "defer_loading", "eager_input_streaming", "input_examples")
"""Fields of a typed tool that are also valid in a function."""


@runtime_checkable
class RunsTools(Protocol):
    """A backend that translates, and maps some typed tools to tools that its server runs."""

    @property
    def runs_tools(self) -> tuple[str, ...]:
        """Prefixes of these tools' types, such as `web_search_`."""
        ...


@dataclass(frozen=True, slots=True)
class Runs:
    """The typed tools that a backend handles itself."""

    prefixes: tuple[str, ...] = ()
    """Prefixes of the types that it runs."""
    speaks_messages: bool = False
    """Its server receives the tools unchanged, including those of unknown types."""

    @classmethod
    def of(cls, attempt: Attempt, named: Mapping[str, tuple[str, ...]]) -> Runs | None:
        """For the backend of an attempt; None if it accepts Anthropic's requests unchanged."""
        backend = attempt.backend
        speaks_messages = implements(backend, SpeaksMessages)
        if speaks_messages and backend.native:
            return None
        own = backend.runs_tools if implements(backend, RunsTools) else ()
        return Runs((*own, *named.get(attempt.backend.name, ())), speaks_messages)

    def has(self, kind: str) -> bool:
        """Whether it runs tools of the type `kind`."""
        return kind.startswith(self.prefixes) if self.prefixes else False


Block = dict[str, Any]
Refusal = Callable[[str], str | None]
"""Why the gateway does not run the calls of a type without its date, as a sentence; empty if it
does, and None if nothing is configured for it."""


@dataclass(slots=True)
class Plan:
    """The tools of one request for one backend."""

    tools: list[Any]
    choice: dict[str, Any]
    """`tool_choice` as the client sent it."""
    messages: list[Any] = field(default_factory=list[Any])
    """The conversation as the client sent it."""
    declared: dict[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """Server tools that the gateway runs, by name, as the client declares them."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Why it does not run others although they are configured: name -> sentence."""
    offered: dict[str, ServerTool] = field(default_factory=dict[str, ServerTool])
    """Server tools that are offered as functions, by name."""
    only: str = ""
    """The server tool that is the only tool of the request: the reply is its error."""
    searches: str = ""
    """Name of the only tool of the request, if it is a web search that the gateway runs."""
    missing: dict[str, str] = field(default_factory=dict[str, str])
    """Types of the tools that the model cannot call, by name."""
    notes: list[str] = field(default_factory=list[str])

    @property
    def because(self) -> str:
        """The changes, for the receipt."""
        return "; ".join(self.notes)


def _is_search(plan: Plan) -> bool:
    return any(str(t.get("type")).startswith("web_search_") for t in plan.declared.values())


def is_typed(tool: Any) -> bool:
    """Whether Anthropic runs or defines a tool: it has a `type` and no schema."""
    return tool.get("type") not in (None, "custom") and "input_schema" not in tool


def planned(
    tools: list[Any], choice: Any, runs: Runs, refusal: Refusal = lambda _: None
) -> Plan | None:
    """The plan for `tools`; None if there is nothing to change."""
    if not [t for t in tools if t.__class__ is dict and "type" in t and is_typed(t)]:
        return None
    plan = Plan([], as_object(choice))
    alone = len(tools) == 1
    taken = {str(as_object(tool).get("name")) for tool in tools if not is_typed(as_object(tool))}
    for tool in tools:
        fields = as_object(tool)
        if not is_typed(fields) or runs.has(str(fields.get("type"))):
            plan.tools.append(tool)
        else:
            _placed(fields, plan, runs, refusal, taken, alone=alone)
    plan.searches = next(iter(plan.declared), "") if alone and _is_search(plan) else ""
    if alone and plan.choice.get("type") != "none" and not plan.declared:
        plan.only = next(iter(plan.offered), "")
        if plan.only:
            why = plan.refused.get(plan.only, "")
            plan.notes = [f"`{plan.only}` runs on Anthropic's servers only, and is the only tool"]
            plan.notes += [why] if why else []
    return plan


def _placed(
    fields: dict[str, Any],
    plan: Plan,
    runs: Runs,
    refusal: Refusal,
    taken: set[str],
    *,
    alone: bool,
) -> None:
    """Add one typed tool to the plan."""
    kind = str(fields.get("type"))
    base = base_of(kind)
    name = str(fields.get("name") or base)
    server = SERVER_TOOLS.get(base)
    if server is not None:
        if name in plan.offered:
            plan.notes.append(f"`{name}` (`{kind}`) left out: another tool has the same name")
            return
        refused = refusal(base)
        why = "another tool has the same name" if name in taken else server.needless
        if why and not (alone and server.needless):
            plan.missing[name] = kind
            plan.notes.append(f"`{name}` (`{kind}`) left out: {why}")
            return
        plan.offered[name] = server
        plan.tools.append(_function(server.offered(name, runs=refused == ""), fields))
        if refused == "":
            plan.declared[name] = fields
            plan.notes.append(f"`{name}` (`{kind}`) is run by the gateway: offered as a function")
            return
        plan.missing[name] = kind
        plan.refused |= {name: refused} if refused else {}
        plan.notes.append(
            f"`{name}` (`{kind}`) runs on Anthropic's servers only: offered as a function whose "
            "calls fail"
        )
    elif base in CLIENT_TOOLS:
        plan.tools.append(_function({**client_function(kind), "name": name}, fields))
        plan.notes.append(f"`{name}` (`{kind}`) is run by the client: offered as a function")
    elif base in UNDESCRIBED:
        plan.missing[name] = kind
        what = UNDESCRIBED[base]
        plan.notes.append(f"`{name}` (`{kind}`) left out: only Anthropic's models know {what}")
    else:
        plan.tools.append(fields)
        if not runs.speaks_messages:
            plan.missing[name] = kind


def _function(made: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**made, **{key: fields[key] for key in _CARRIED if key in fields}}


def refuse_forced(plan: Plan, target: str) -> None:
    """Raises `InvalidRequest` if the model must call a tool that it cannot call."""
    kind, name = plan.choice.get("type"), str(plan.choice.get("name"))
    if kind == "tool" and name in plan.missing:
        what = f"names `{name}` (`{plan.missing[name]}`)"
    elif kind == "any" and _none_left(plan):
        names = ", ".join(f"`{name}` (`{of}`)" for name, of in plan.missing.items())
        what = f"requires a call, but the only tools are {names}"
    else:
        return
    raise InvalidRequest(
        f"tool_choice: it {what}, which `{target}` cannot run: only Anthropic's models and servers "
        "can - choose `auto` or another tool, or route the model to an `anthropic` backend",
        retry=False,
    )


def _none_left(plan: Plan) -> bool:
    """Whether none of the remaining tools can be called."""
    names = {str(as_object(tool).get("name")) for tool in as_list(plan.tools)}
    return bool(plan.missing) and names <= plan.missing.keys()
