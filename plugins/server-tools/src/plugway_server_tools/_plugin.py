"""The plugin: plans the typed tools of a request, and fails calls that no server can run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from plugway import (
    Attempt,
    Exchange,
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
from plugway_server_tools._history import paired
from plugway_server_tools._known import call_block
from plugway_server_tools._options import ServerToolsOptions
from plugway_server_tools._plan import Plan, Runs, planned, refuse_forced
from plugway_server_tools._rounds import LIMITS, Failing
from plugway_tools.loop import Loop, stop
from plugway_translation import readable_text

_ASKED: Final = re.compile(r"\s*Perform a web search for the query:\s*")
"""Start of Claude Code's request for a search (2.1.332)."""
_URL: Final = re.compile(r"https?://[^\s<>\"')\]]+")
_MAX_INPUT: Final = 1000


class ServerTools(Plugin[ServerToolsOptions]):
    """Reports tools that only Anthropic's servers run, and adds schemas to clients' typed tools."""

    outside: ClassVar[tuple[str, ...]] = (  # which know only functions, and repair their calls
        "tool-repair",
        "context-guard",
        "field-policy",
    )

    def __init__(self, options: ServerToolsOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._plan: StateKey[Plan | None] = StateKey(self.name)

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report unknown backends."""
        known = ", ".join(f"`{name}`" for name in zones) or "none"
        return [
            (("run_by", name), f"there is no backend `{name}`; there are {known}")
            for name in self.options.run_by
            if name not in zones
        ]

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """The request with functions for typed tools; None if it needs no change."""
        runs = Runs.of(attempt, self.options.run_by)
        plan = None
        if runs is not None and (tools := as_list(request.get("tools"))):
            plan = planned(tools, request.get("tool_choice"), runs)
            if plan is not None and plan.notes:
                request = request.replace(tools=plan.tools, because=plan.because)
            messages, count = paired(as_list(request.get("messages")), runs)
            if count:
                because = f"calls of server tools sent as ordinary calls ({count})"
                request = request.replace(messages=messages, because=because)
        exchange.state[self._plan] = plan
        return request

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """The reply, with an error for each call of a server tool.

        Raises:
            InvalidRequest: the model must call a tool that it cannot call.
        """
        plan = exchange.state.get(self._plan)
        if plan is None:
            return await send(request, attempt)
        note = partial(exchange.note, self.name, stage="answer")
        if plan.only:
            note(f"no request was sent: `{plan.only}` is the only tool, and cannot be run")
            return Reply.message(_unavailable(plan, request, attempt, exchange.model_asked))
        refuse_forced(plan, attempt.target)
        if not plan.offered:
            return await send(request, attempt)
        runner = Failing(plan.offered, attempt.target, note)
        return await Loop(send, attempt, runner, note, LIMITS).run(request)

    @hookimpl
    async def finished(self, exchange: Exchange) -> None:
        """Ends what still runs for a client that left."""
        if exchange.state.get(self._plan) is not None:
            await stop(exchange)


def _unavailable(
    plan: Plan, request: MessagesRequest, attempt: Attempt, model: str
) -> dict[str, Any]:
    """The reply to a request whose only tool is a server tool."""
    name = plan.only
    tool = plan.offered[name]
    call = call_block(name, _input(name, request))
    text = tool.message(name, attempt.target)
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [call, tool.error(call["id"]), {"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }


def _input(name: str, request: MessagesRequest) -> dict[str, Any]:
    """The arguments that the call would have had, taken from the user's last message."""
    text = ""
    for message in map(as_object, as_list(request.get("messages"))):
        if message.get("role") == "user":
            text = readable_text(message.get("content"))
    if name == "web_search" and text:
        return {"query": _ASKED.sub("", text, count=1)[:_MAX_INPUT]}
    if name == "web_fetch" and (url := _URL.search(text)):
        return {"url": url[0][:_MAX_INPUT]}
    return {}
