"""The plugin: decides which requests get tools, and runs the loop for them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from plugway import (
    REMOVE,
    Attempt,
    Exchange,
    Gateway,
    InvalidRequest,
    MessagesRequest,
    Plugin,
    Reply,
    RequestRejected,
    Send,
    StateKey,
    as_list,
    as_object,
    hookimpl,
)
from plugway_toolbelt._belt import FIND_TOOL, Belt
from plugway_toolbelt._index import Index
from plugway_toolbelt._options import GrantOptions, ToolbeltOptions, matches
from plugway_tools import HoldsTools, JudgesCalls, ToolSpec
from plugway_tools.loop import Limits, Loop, stop
from plugway_tools.safety import Held, SafeCalls, outside_in
from plugway_translation import readable_text

HEADER: Final = "plugway-toolbelt"
LIST_SECONDS: Final = 60.0
"""Time for a plugin to list its tools; servers may have to start."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names of tools that every API takes."""
_EARLIER: Final = 500
"""Characters of the user's message before the last one that help to choose tools."""
_LAST: Final = 4000
_BROUGHT: Final = ("tools", "functions", "mcp_servers")
"""Fields with which clients of any API bring tools."""


_NO_CALLS: Final = "the client wants no calls (`tool_choice: none`), so it gets no tools"


class Toolbelt(Plugin[ToolbeltOptions]):
    """Gives tools to clients that have none, and runs them inside the reply."""

    outside: ClassVar[tuple[str, ...]] = (
        "tool-repair",
        "context-guard",
        "field-policy",
        "budget-tree",
    )

    def __init__(self, options: ToolbeltOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._gateway: Gateway | None = None
        self._index = Index(())
        self._asked: StateKey[tuple[GrantOptions, ...]] = StateKey(self.name)
        """The grants of a request that gets tools."""
        self._always = bool(options.callers or options.models)
        self._limits = Limits(
            options.rounds,
            options.calls,
            options.seconds,
            options.tokens,
            options.result_characters,
        )

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report folders that are too large to be granted."""
        home = Path.home()
        return [
            (("grants", number, "roots", at), f"`{root}` is a home or contains one: name a folder")
            for number, grant in enumerate(self.options.grants)
            for at, root in enumerate(grant.roots)
            if home.is_relative_to(_folder(root))
        ]

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """The tools are those of other plugins."""
        self._gateway = gateway
        yield
        self._gateway = None

    @hookimpl
    def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest | None:
        """A request that gets tools, marked by the first of them, so that it is not relayed as it
        is, and goes to a model that can call tools.

        Raises:
            InvalidRequest: the header has another value than `on` and `off`.
            RequestRejected: no tool is granted to the caller (403).
        """
        word = request.named.get(HEADER)
        if word is None and not self._always:
            return None
        if not self._wanted(word, request, exchange) or exchange.endpoint == "count_tokens":
            return None
        if _brings_tools(request):
            what = "the client brings its own tools, so it gets no others"
            exchange.note(self.name, what, stage="toolbelt")
            return None
        if as_object(request.get("tool_choice")).get("type") == "none":
            return request.replace(because=_NO_CALLS, tool_choice=REMOVE)
        caller = exchange.caller.name
        grants = tuple(g for g in self.options.grants if matches(caller, g.callers))
        if not grants:
            raise _refusal(
                f"no tool is granted to `{caller}`. To grant some, add to the options of "
                f"`{self.name}`, for example: grants: [{{callers: [{caller}], tools: [files_*], "
                "effects: [read]}]. Without tools, send the request without the header "
                f"`{HEADER}`, or with `{HEADER}: off`"
            )
        exchange.state[self._asked] = grants
        because = "the client has no tools and asked for the toolbelt"
        return request.replace(because=because, tools=[dict(FIND_TOOL)], tool_choice=REMOVE)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """The reply, with calls run.

        Raises:
            RequestRejected: no plugin has a tool that is granted (403), or any at all (503).
        """
        grants = exchange.state.get(self._asked)
        if grants is None:
            return await send(request, attempt)
        assert self._gateway is not None
        granted = await self._granted(grants, self._gateway)
        note = partial(exchange.note, self.name, stage="toolbelt")
        messages = request.get("messages")
        judges = self._gateway.find(JudgesCalls)
        calls = SafeCalls(exchange, judges, note, outside=outside_in(messages))
        belt = Belt(granted, self._index, calls, self.options, shows=self._shows(request))
        belt.choose(_words(messages))
        loop = Loop(send, attempt, belt, note, self._limits, adapt=belt.adapt)
        return await loop.run(belt.adapt(request))

    @hookimpl
    def finished(self, exchange: Exchange) -> Awaitable[None] | None:
        """Ends what still runs for a client that left."""
        return stop(exchange) if exchange.state.get(self._asked) is not None else None

    def _wanted(self, word: str | None, request: MessagesRequest, exchange: Exchange) -> bool:
        """Whether the header or the configuration asks for tools. Requests of plugins never do:
        they have no headers."""
        if word is not None:
            if word.strip().lower() not in ("on", "off"):
                raise InvalidRequest(f"{HEADER}: use `on` or `off`", retry=False, record=True)
            return word.strip().lower() == "on"
        if not request.headers:
            return False
        caller, model = exchange.caller.name, request.model
        return matches(caller, self.options.callers) or matches(model, self.options.models)

    def _shows(self, request: MessagesRequest) -> bool:
        progress = self.options.progress
        kind = as_object(request.get("thinking")).get("type")
        return progress == "always" or (progress == "auto" and kind in ("enabled", "adaptive"))

    async def _granted(
        self, grants: Sequence[GrantOptions], gateway: Gateway
    ) -> Mapping[str, Held]:
        """The tools that are granted, by name."""
        listed = await self._listed(gateway)
        if self._index.specs != (specs := tuple(spec for spec, _ in listed)):
            self._index = Index(specs)
        found: dict[str, Held] = {}
        for spec, holder in listed:
            grant = next((g for g in grants if _covers(g, spec)), None)
            if grant is not None and spec.name not in found:
                roots = tuple(map(_folder, grant.roots))
                trusted = matches(spec.name, grant.trust)
                found[spec.name] = Held(spec, holder, True, roots, trusted)
        if found:
            return found
        if not listed:
            what = "toolbelt: no plugin of this gateway has tools now; `plugway mcp list` shows why"
            raise RequestRejected(what, status=503, record=True)
        names = ", ".join(f"`{spec.name}` ({spec.effect})" for spec, _ in listed[:20])
        raise _refusal(f"no tool that is granted to the caller is available: there are {names}")

    async def _listed(self, gateway: Gateway) -> list[tuple[ToolSpec, HoldsTools]]:
        """The tools of all plugins. One whose list fails is left out."""
        found: list[tuple[ToolSpec, HoldsTools]] = []
        for name, holder in gateway.find(HoldsTools):
            try:
                async with asyncio.timeout(LIST_SECONDS):
                    specs = [spec for spec in await holder.tools() if _NAME.fullmatch(spec.name)]
                found += [(spec, holder) for spec in specs]
            except Exception:  # another plugin's own code
                self.log.exception("the tools of `%s` cannot be listed", name)
        return found


def _brings_tools(request: MessagesRequest) -> bool:
    """Whether the client has tools, also those that the Messages API cannot express."""
    original = request.original
    if original is not None and any(original.get(field) for field in _BROUGHT):
        return True
    return any(request.get(field) for field in _BROUGHT)


def _covers(grant: GrantOptions, spec: ToolSpec) -> bool:
    return spec.effect in grant.effects and matches(spec.name, grant.tools)


def _folder(root: str) -> Path:
    return Path(root).expanduser().absolute()


def _refusal(why: str) -> RequestRejected:
    return RequestRejected(f"toolbelt: {why}", status=403, retry=False, record=True)


def _words(messages: object) -> str:
    """What the user said last, with the end of what was said before."""
    said = [
        readable_text(message.get("content"))
        for message in map(as_object, as_list(messages)[-9:])
        if message.get("role") == "user"
    ]
    if not said:
        return ""
    earlier = said[-2][-_EARLIER:] if len(said) > 1 else ""
    return f"{said[-1][-_LAST:]} {earlier}"
