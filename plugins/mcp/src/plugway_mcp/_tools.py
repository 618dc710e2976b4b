"""The tools: each takes its checked arguments and the caller, and returns a text.

Text only: if a result has text and structure, Claude Code shows the model only the structure.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from plugway import Gateway, PlugwayError, as_list, as_object
from plugway_endpoints import (
    AGENTS,
    Advises,
    Conversations,
    Endpoint,
    KeepsConversations,
    Needs,
    choices_text,
    close_to,
    match,
)
from plugway_mcp._calls import Caller, Calls
from plugway_mcp._loading import listing, load, unload
from plugway_mcp._totals import Totals, report

RECENT_SECONDS: Final = 600.0
UNIDENTIFIED: Final = (
    "This client does not identify the calling conversation (`_meta` has no "
    "`claudecode/toolUseId` that went through this gateway), and {count} conversations were "
    "served in the last ten minutes. Write `@plugway use NAME` in the conversation instead."
)


class ToolFailed(Exception):
    """The tool failed; the text states the reason and the fix."""


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Nothing(_Arguments):
    """No arguments."""


class SetArguments(_Arguments):
    """Arguments of `endpoint_set`."""

    endpoint: str = Field(min_length=1, max_length=200)
    """A name from `endpoint_list`, an alias, an instance, `local`, a few words of a model's name;
    or `default` for the configured model."""
    scope: Literal["caller", "session", "subagents"] = "caller"
    """`caller`: the calling conversation, or only the subagent that calls; `session`: the whole
    session; `subagents`: all its subagents."""


class ModelArguments(_Arguments):
    """Arguments of `model_load` and `model_unload`."""

    model: str = Field(min_length=1, max_length=200)
    """A name from `model_list`."""


class ReportArguments(_Arguments):
    """Arguments of `usage_report`."""

    of: Literal["conversation", "gateway"] = "conversation"
    """This conversation, or everything since the gateway started."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: its description and its function."""

    name: str
    description: str
    arguments: type[BaseModel]
    run: Callable[[Any, Caller | None], Awaitable[str]]
    writes: bool = False
    """Whether it changes state."""


class Tools:
    """The tools over one gateway."""

    def __init__(self, gateway: Gateway, calls: Calls, totals: Totals) -> None:
        self._gateway = gateway
        self._calls = calls
        self._totals = totals

    def all(self) -> Sequence[Tool]:
        """Every tool, in listing order."""
        return (
            Tool(
                "endpoint_list",
                "List the models that can serve this conversation, and the one that serves it now.",
                Nothing,
                self.endpoint_list,
            ),
            Tool(
                "endpoint_set",
                "Switch the model that serves this conversation, from the next request on. Use "
                "only when the user asks for it.",
                SetArguments,
                self.endpoint_set,
                writes=True,
            ),
            Tool(
                "endpoint_recommend",
                "Recommend a model for this conversation by its size and measured speeds.",
                Nothing,
                self.endpoint_recommend,
            ),
            Tool("model_list", "List local models: state and memory.", Nothing, self.model_list),
            Tool(
                "model_load",
                "Load a model on this machine into memory. If it is not loaded when the call ends, "
                "call again.",
                ModelArguments,
                self.model_load,
                writes=True,
            ),
            Tool(
                "model_unload",
                "Unload a model on this machine from memory, for everybody who uses it.",
                ModelArguments,
                self.model_unload,
                writes=True,
            ),
            Tool(
                "usage_report",
                "Report tokens and costs of this conversation, or of the gateway.",
                ReportArguments,
                self.usage_report,
            ),
            Tool(
                "context_report",
                "Report how full the window of this conversation's model is, and with what.",
                Nothing,
                self.context_report,
            ),
            Tool(
                "explain_last",
                "Explain where this conversation's last request went, why, and what was changed.",
                Nothing,
                self.explain_last,
            ),
        )

    def caller(self, tool_use_id: object) -> Caller | None:
        """The caller. If the client does not identify it, the only recent conversation."""
        found = self._calls.of(tool_use_id)
        if found is not None:
            return found
        recent = self._state.recent(time.monotonic() - RECENT_SECONDS)
        if len({served.session for served in recent}) != 1:
            return None
        last = next((s for s in recent if not s.agent), recent[0])
        return Caller(
            last.session,
            "",
            last.model,
            last.target,
            last.zone,
            chosen=last.chosen,
            guessed=True,
        )

    # ── endpoints ────────────────────────────────────────────────────────────────────────────

    async def endpoint_list(self, _: Nothing, caller: Caller | None) -> str:
        """All endpoints with their known facts."""
        endpoints = await self._endpoints()
        if not endpoints:
            return "No backend lists any models. Run `plugway doctor` to find out why."
        now = self._now(caller) if caller else ""
        if caller is None:
            current = "The calling conversation is unknown."
        elif now:
            current = f"Now: {named(now)}."
        else:
            current = (
                f"Last served by {named(caller.target)}; the configuration chooses the next target."
            )
        return "\n".join([current, *(self._line(e, now) for e in endpoints)])

    async def endpoint_set(self, asked: SetArguments, caller: Caller | None) -> str:
        """Switch the calling conversation."""
        caller = self._known(caller)
        session = caller.session
        if not self._state.switch:
            raise ToolFailed("The plugin `switch` is not configured: add `- use: switch`.")
        if session is None:
            raise ToolFailed("This client sends no session id (header `x-claude-code-session-id`).")
        agent, who = _scope(asked.scope, caller)
        endpoints = await self._endpoints()
        found = match(asked.endpoint, endpoints)
        choices = self._state.choices
        if found.default:
            was = await choices.clear(session, agent or None)
            said = f"{who} served by the configured model {'again' if was else 'already'}."
            return said + (await choices.reservation() if was else "")
        only = self._one(asked.endpoint, found.found, endpoints)
        if refusal := self._state.refusal(only, session, caller.zone):
            raise ToolFailed(refusal)
        choice = self._state.choice(only, "" if agent else caller.model, session, caller.zone)
        await choices.set(session, agent, choice)
        said = f"{who} served by {only.described()} from the next request on.{_guess(caller)}"
        return said + await choices.reservation()

    async def endpoint_recommend(self, _: Nothing, caller: Caller | None) -> str:
        """Advice from known facts, without a request."""
        caller = self._known(caller)
        if (advisor := self._advisor) is None:
            raise ToolFailed("The plugin `recommend` is not configured: add `- use: recommend`.")
        endpoints = self._state.endpoints(self._zones())
        if not endpoints:
            raise ToolFailed("No list of models is known yet. Call `endpoint_list` first.")
        advice = advisor.advise(self._needs(caller), endpoints, self._now(caller))
        return "\n".join([advice.reason + _guess(caller), *(f"- {line}" for line in advice.others)])

    # ── models ───────────────────────────────────────────────────────────────────────────────

    async def model_list(self, _: Nothing, caller: Caller | None) -> str:
        """Endpoints on this machine."""
        here = [e for e in await self._endpoints() if e.zone == "local"]
        if not here:
            return "No backend on this machine lists any models."
        return await listing(self._gateway, here)

    async def model_load(self, asked: ModelArguments, caller: Caller | None) -> str:
        """Load a model and wait up to `WAIT_SECONDS`."""
        return await load(self._gateway, await self._here(asked.model))

    async def model_unload(self, asked: ModelArguments, caller: Caller | None) -> str:
        """Unload a model."""
        only = await self._here(asked.model)
        try:
            return await unload(self._gateway, only)
        except PlugwayError as error:
            raise ToolFailed(str(error)) from error

    # ── reports ──────────────────────────────────────────────────────────────────────────────

    async def usage_report(self, asked: ReportArguments, caller: Caller | None) -> str:
        """Tokens and costs."""
        if asked.of == "gateway":
            head, totals = "Since the gateway started:", self._totals.targets
        else:
            caller = self._known(caller)
            head = f"This conversation since the gateway started:{_guess(caller)}"
            totals = self._totals.of(caller.session)
        lines = report(totals, self._cost)
        return "\n".join([head, *lines]) if lines else "No requests served yet."

    async def context_report(self, _: Nothing, caller: Caller | None) -> str:
        """How full the window is."""
        caller = self._known(caller)
        needs = self._needs(caller)
        endpoints = {e.id: e for e in self._state.endpoints(self._zones())}
        target = self._now(caller) or caller.target
        served = endpoints.get(target)
        window = served.info.context_tokens if served else 0
        how = "counted by the server" if needs.counted else "estimated from its bytes"
        text = f"The conversation has {needs.tokens:,} tokens ({how})"
        if window:
            share = 100 * needs.tokens / window
            text += f", {share:.0f} % of the {window:,} of {named(target)}"
        shares = [f"{name} {tokens:,}" for name, tokens in needs.parts if tokens]
        parts = f" Estimated shares: {', '.join(shares)}." if shares else ""
        return f"{text}.{parts}{_guess(caller)}"

    async def explain_last(self, _: Nothing, caller: Caller | None) -> str:
        """The receipt of the last exchange."""
        caller = self._known(caller)
        last = self._state.last(caller.session, caller.agent)
        if last is None:
            return "No exchange of this conversation has finished yet."
        return f"{_explained(last.summary)}{_guess(caller)}"

    # ── in common ────────────────────────────────────────────────────────────────────────────

    @property
    def _state(self) -> Conversations:
        """The state of conversations; None if no plugin keeps it."""
        keepers = self._gateway.find(KeepsConversations)
        return keepers[0][1].conversations if keepers else Conversations()

    @property
    def _advisor(self) -> Advises | None:
        return next((one for _, one in self._gateway.find(Advises)), None)

    def _zones(self) -> dict[str, str]:
        return {name: backend.zone for name, backend in self._gateway.backends.items()}

    async def _endpoints(self) -> tuple[Endpoint, ...]:
        self._state.models = tuple(await self._gateway.models())
        return self._state.endpoints(self._zones())

    def _known(self, caller: Caller | None) -> Caller:
        if caller is None:
            count = len({s.session for s in self._state.recent(time.monotonic() - RECENT_SECONDS)})
            raise ToolFailed(UNIDENTIFIED.format(count=count or "no"))
        return caller

    def _now(self, caller: Caller) -> str:
        """The target of the conversation's next request: the current choice, or the target that the
        configuration chose last. Empty if the last one was routed by a choice that is gone."""
        choices = self._state.choices
        choice = choices.of(caller.session, caller.agent, caller.model)
        if choice is not None and self._state.switch:
            return choice.target
        return "" if caller.chosen else caller.target

    def _needs(self, caller: Caller) -> Needs:
        """The needs of the conversation: from its request, and the server's token count."""
        last = self._state.last(caller.session, caller.agent)
        needs = caller.needs or Needs(0)
        if last is not None and last.prompt_tokens:
            tokens = last.prompt_tokens + last.usage.output_tokens
            return replace(needs, tokens=tokens, counted=True)
        return needs

    def _one(self, name: str, found: Sequence[Endpoint], among: Sequence[Endpoint]) -> Endpoint:
        if len(found) == 1:
            return found[0]
        if found:
            raise ToolFailed(f"{named(name)} is ambiguous: {choices_text(found)}. Ask the user.")
        near = close_to(name, among)
        hint = f" Did you mean {choices_text(near)}?" if near else ""
        raise ToolFailed(f"Unknown endpoint {named(name)}.{hint} Nothing was done.")

    async def _here(self, name: str) -> Endpoint:
        endpoints = await self._endpoints()
        here = [e for e in endpoints if e.zone == "local"]
        return self._one(name, match(name, here).found, here)

    def _cost(self, target: str, usage: Any) -> float | None:
        return self._advisor.cost(target, usage) if self._advisor else None

    def _line(self, endpoint: Endpoint, now: str) -> str:
        info, facts = endpoint.info, [endpoint.described()]
        if info.state != "unknown":
            facts.append(info.state)
        facts += sorted(info.capabilities)
        measured = self._advisor.facts(endpoint.id) if self._advisor else dict[str, Any]()
        for key, what in (("prefill", "tokens/s in"), ("decode", "tokens/s out")):
            if measured.get(key):
                facts.append(f"{measured[key]:,.0f} {what}")
        here = " <- now" if now == endpoint.id else ""
        return f"- {', '.join(facts)}{here}"


def named(name: str) -> str:
    """A name in the result, without line ends that could be mistaken for other lines."""
    return f"`{_one_line(name)}`"


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _scope(scope: str, caller: Caller) -> tuple[str, str]:
    """The agent id of the choice, and its subject in a sentence."""
    if scope == "subagents":
        return AGENTS, "Subagents of this conversation are"
    if scope == "caller" and caller.agent:
        return caller.agent, "This subagent is"
    return "", "This conversation is"


def _guess(caller: Caller) -> str:
    note = " (The client does not identify the caller; this is the only recent conversation.)"
    return note if caller.guessed else ""


def _explained(summary: Mapping[str, Any]) -> str:
    route = as_object(summary.get("route"))
    lines = [
        f"Request {summary.get('request_id')}: {summary.get('outcome')} after "
        f"{float(summary.get('seconds') or 0):.1f} s.",
        f"Requested {named(str(summary.get('model_asked')))}; went to "
        f"{', '.join(named(str(t)) for t in as_list(route.get('targets'))) or 'no target'}, "
        f"because {route.get('reason') or 'the gateway answered it'}.",
    ]
    lines += [
        f"- attempt at {named(str(a.get('target')))}: {_one_line(a.get('result'))} in "
        f"{a.get('ms')} ms"
        for a in map(as_object, as_list(summary.get("attempts")))
    ]
    lines += [
        f"- {e.get('plugin')} ({e.get('stage')}): {_one_line(e.get('what'))}"
        for e in map(as_object, as_list(summary.get("receipt")))
    ]
    return "\n".join(lines)
