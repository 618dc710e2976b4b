"""The plugin: plans the typed tools of a request, and runs or fails the calls of server tools."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, Final

from plugway import (
    Attempt,
    BackendProtocolError,
    Exchange,
    Gateway,
    MessagesRequest,
    Plugin,
    Reply,
    Send,
    StateKey,
    as_list,
    as_object,
    hookimpl,
    new_id,
)
from plugway_server_tools._calls import Calls
from plugway_server_tools._history import paired
from plugway_server_tools._hosted import hosted_tools
from plugway_server_tools._known import base_of, call_block
from plugway_server_tools._options import (
    EVERY_ZONE,
    FetchOptions,
    SearchOptions,
    ServerToolsOptions,
)
from plugway_server_tools._plan import Plan, Refusal, Runs, planned, refuse_forced
from plugway_server_tools._services import Services
from plugway_server_tools._shown import shown
from plugway_tools import ToolResult
from plugway_tools.loop import Called, Loop, stop
from plugway_translation import readable_text

_ASKED: Final = re.compile(r"\s*Perform a web search for the query:\s*")
"""Start of Claude Code's request for a search (2.1.332)."""
_URL: Final = re.compile(r"https?://[^\s<>\"')\]]+")
_MAX_INPUT: Final = 1000
Flaw = tuple[tuple[str | int, ...], str]


class ServerTools(Plugin[ServerToolsOptions]):
    """Runs searches and fetches, and reports other tools of Anthropic's servers as unavailable.

    Adds schemas to clients' typed tools."""

    outside: ClassVar[tuple[str, ...]] = (  # which know only functions, and repair their calls
        "tool-repair",
        "context-guard",
        "field-policy",
        "budget-tree",
    )

    def __init__(self, options: ServerToolsOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._plan: StateKey[Plan | None] = StateKey(self.name)
        self._services = Services(options)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Report unknown backends and zones."""
        known = ", ".join(f"`{name}`" for name in zones) or "none"
        return [
            *(
                (("run_by", name), f"there is no backend `{name}`; there are {known}")
                for name in self.options.run_by
                if name not in zones
            ),
            *self._unknown_zones("web_search", self.options.web_search, set(zones.values())),
            *self._unknown_zones("web_fetch", self.options.web_fetch, set(zones.values())),
        ]

    def _unknown_zones(
        self, name: str, options: SearchOptions | FetchOptions | None, zones: set[str]
    ) -> Iterator[Flaw]:
        if options is None or not zones:
            return
        known = ", ".join(f"`{zone}`" for zone in sorted(zones))
        for index, zone in enumerate(options.from_zones):
            if zone not in zones and zone != EVERY_ZONE:
                why = f"no backend is in the zone `{zone}`; the zones are {known}"
                yield (name, "from_zones", index), why
        if not any(map(options.serves, zones)):
            self.log.warning(
                "`%s` is never used: add the zones whose conversations may use it to `from_zones`",
                name,
            )

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Keep the connections to the search provider open from start to end."""
        self._services.find_tools_in(gateway)
        async with self._services:
            yield

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """The request with functions for typed tools; None if it needs no change."""
        runs = Runs.of(attempt, self.options.run_by)
        refusal = partial(self._services.refusal, zone=attempt.backend.zone)
        plan = None
        if runs is not None and (tools := self._tools(request, runs, refusal, exchange)):
            plan = planned(tools, request.get("tool_choice"), runs, refusal)
            messages = as_list(request.get("messages"))
            if plan is not None and plan.notes:
                plan.messages = messages
                request = request.replace(tools=plan.tools, because=plan.because)
            messages, count = paired(messages, runs)
            if count:
                because = f"calls of server tools sent as ordinary calls ({count})"
                request = request.replace(messages=messages, because=because)
        exchange.state[self._plan] = plan
        return request

    def _tools(
        self, request: MessagesRequest, runs: Runs, refusal: Refusal, exchange: Exchange
    ) -> list[Any]:
        """The tools of a request, with those of other APIs that the gateway runs."""
        tools = as_list(request.get("tools"))
        if not self._services.any or request.original is None:
            return tools
        found: list[Any] = []
        for tool in hosted_tools(request.original):
            why = refusal(base_of(tool["type"]))
            if why:
                exchange.note_once(self.name, [f"`{tool['name']}` left out: {why}"], stage="tools")
            elif why is not None and not runs.has(tool["type"]):
                found.append(tool)
        return [*tools, *found]

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """The reply, with the result of each call of a server tool, or its error.

        Raises:
            InvalidRequest: the model must call a tool that it cannot call.
        """
        plan = exchange.state.get(self._plan)
        if plan is None:
            return await send(request, attempt)
        note = partial(exchange.note, self.name, stage="answer")
        if plan.only:
            note(f"no request was sent: `{plan.only}` is the only tool, and cannot be run")
            return _unavailable(plan, request, attempt, exchange.model_asked)
        refuse_forced(plan, attempt.target)
        if not plan.offered:
            return await send(request, attempt)
        calls = Calls(plan, self._services, exchange, attempt.target, note)
        front: list[Mapping[str, Any]] = []
        found = ""
        if query := _search_asked_for(plan, request):
            note("the search was run before the model was asked, because the request asks for it")
            front, result, call = await calls.search_first(plan.searches, query)
            if result.is_error:
                text = f"The web search failed. {result.text} There are no results to report."
                return _message(exchange.model_asked, [*front, {"type": "text", "text": text}])
            request, found = _with_result(request, call, result), result.text
        try:
            reply = await Loop(send, attempt, calls, note, calls.limits).run(request)
        except BackendProtocolError as error:  # such as an empty reply of a small model
            if not front:
                raise
            note(f"the model said nothing usable about the results: {error.record[:200]}")
            return _message(exchange.model_asked, [*front, {"type": "text", "text": found}])
        return await shown(reply, calls, front, found) if plan.declared else reply

    @hookimpl
    async def finished(self, exchange: Exchange) -> None:
        """Ends what still runs for a client that left."""
        if exchange.state.get(self._plan) is not None:
            await stop(exchange)


def _unavailable(plan: Plan, request: MessagesRequest, attempt: Attempt, model: str) -> Reply:
    """The reply to a request whose only tool is a server tool that cannot be run."""
    name = plan.only
    tool = plan.offered[name]
    call = call_block(name, _input(name, request))
    text = tool.message(name, attempt.target, plan.refused.get(name, ""))
    return _message(model, [call, tool.error(call["id"]), {"type": "text", "text": text}])


def _message(model: str, content: list[Mapping[str, Any]]) -> Reply:
    """A finished message of the gateway's own."""
    return Reply.message(
        {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": content,
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
    )


def _search_asked_for(plan: Plan, request: MessagesRequest) -> str:
    """The query of a request that is nothing but a search, as Claude Code's; else empty.

    Its client shows the links of the reply, so there must be a search, also if a small model would
    rather answer from memory.
    """
    if not plan.searches or plan.choice.get("type") == "none":
        return ""
    text = _asked(request)
    return _ASKED.sub("", text, count=1).strip() if _ASKED.match(text) else ""


def _with_result(request: MessagesRequest, call: Called, result: ToolResult) -> MessagesRequest:
    """The request with a call that was run, and its result."""
    made = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
    answered = {"type": "tool_result", "tool_use_id": call.id, "content": result.text}
    messages = [
        *as_list(request.get("messages")),
        {"role": "assistant", "content": [made]},
        {"role": "user", "content": [answered]},
    ]
    because = "the search that it asks for was run"
    return request.replace(messages=messages, tool_choice={"type": "auto"}, because=because)


def _asked(request: MessagesRequest) -> str:
    """The text of the user's last message."""
    text = ""
    for message in map(as_object, as_list(request.get("messages"))):
        if message.get("role") == "user":
            text = readable_text(message.get("content"))
    return text


def _input(name: str, request: MessagesRequest) -> dict[str, Any]:
    """The arguments that the call would have had, taken from the user's last message."""
    text = _asked(request)
    if name == "web_search" and text:
        return {"query": _ASKED.sub("", text, count=1)[:_MAX_INPUT]}
    if name == "web_fetch" and (url := _URL.search(text)):
        return {"url": url[0][:_MAX_INPUT]}
    return {}
