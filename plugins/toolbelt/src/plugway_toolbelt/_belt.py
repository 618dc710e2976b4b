"""The tools of one request: what is offered, found and run (`plugway_tools.loop.Runner`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from plugway import MessagesRequest
from plugway_toolbelt._index import Index
from plugway_toolbelt._options import ToolbeltOptions, matches
from plugway_tools import ToolResult, failed, harmless
from plugway_tools.loop import Called, Hidden
from plugway_tools.safety import Held, SafeCalls

FIND: Final = "find_tools"
FIND_TOOL: Final[Mapping[str, Any]] = {
    "name": FIND,
    "description": (
        "Finds more tools by words, if none of those offered does what is needed. What it returns "
        "can be called after it."
    ),
    "input_schema": {
        "type": "object",
        "properties": {"query": {"type": "string", "description": "What the tool should do."}},
        "required": ["query"],
    },
}
_FINDING: Final = Hidden(parallel=True)
MAX_SHOWN: Final = 200
"""Most characters of a call's arguments that are shown as progress."""


class Belt:
    """The granted tools of a request."""

    def __init__(
        self,
        granted: Mapping[str, Held],
        index: Index,
        calls: SafeCalls,
        options: ToolbeltOptions,
        *,
        shows: bool,
    ) -> None:
        self._granted = granted
        self._index = index
        self._calls = calls
        self._options = options
        self._shows = shows
        self.offered: list[str] = []
        """Names of the tools that the model was offered."""

    def choose(self, text: str) -> None:
        """Offer the core, and what fits the words of the request."""
        core = [name for name in self._granted if matches(name, self._options.core)]
        most = self._options.offered
        names = list(dict.fromkeys([*core[:most], *self._found(text), *self._granted]))
        self.offered = names[:most]

    def adapt(self, request: MessagesRequest) -> MessagesRequest:
        """The request with the tools that are offered now."""
        tools = [_function(self._granted[name]) for name in self.offered]
        if len(self._granted) > len(self.offered) and FIND not in self._granted:
            tools.append(dict(FIND_TOOL))
        if request.get("tools") == tools:
            return request
        return request.replace(tools=tools, because=f"tools for a client without: {self._names}")

    @property
    def _names(self) -> str:
        return ", ".join(f"`{name}`" for name in self.offered)

    def _found(self, text: str) -> list[str]:
        return [name for name in self._index.find(text) if name in self._granted]

    # ── `Runner` ─────────────────────────────────────────────────────────────────────────────

    def hidden(self, name: str) -> Hidden | None:
        """Every tool: the client has none, so that it could not run an invented one either."""
        held = self._granted.get(name)
        if held is None:
            return _FINDING
        return Hidden(held.spec.parallel, held.spec.effect != "read")

    def before(self, call: Called) -> Sequence[Mapping[str, Any]]:
        """The call as thinking, where the client shows it."""
        given = ", ".join(f"{k}={v!r}" for k, v in (call.arguments or {}).items())
        short = given if len(given) <= MAX_SHOWN else f"{given[:MAX_SHOWN]}…"
        return self._progress(f"{call.name[:64]}({short})")

    async def run(self, call: Called) -> ToolResult:
        """The result of a call."""
        held = self._granted.get(call.name)
        if held is not None:
            return await self._calls.run(held, call)
        if call.name == FIND:
            return self._more(str((call.arguments or {}).get("query") or ""))
        return failed(f"There is no such tool. There are {self._names}; `{FIND}` finds others.")

    def after(self, call: Called, result: ToolResult) -> Sequence[Mapping[str, Any]]:
        """The outcome as thinking, where the client shows it."""
        known = call.name == FIND or call.name in self._granted
        noted = call if known else replace(call, name="unknown tool")  # it is text of the model
        self._calls.record(noted, result, "ran" if call.name == FIND else "not run")
        if not result.is_error:
            return ()
        return self._progress(f"{call.name[:64]} failed: {result.text[:MAX_SHOWN]}")

    def last_words(self, why: str) -> str:
        """The end of a reply for which the model has no words."""
        return f"[No further answer: {why}. Ask again, or ask for less at once.]"

    def _progress(self, text: str) -> Sequence[Mapping[str, Any]]:
        if not self._shows:
            return ()
        return [{"type": "thinking", "thinking": f"{harmless(text)}\n", "signature": ""}]

    def _more(self, query: str) -> ToolResult:
        """Offer further tools."""
        new = [name for name in self._found(query) if name not in self.offered]
        new = new[: self._options.offered]
        if not new:
            return failed(f"No further tool fits these words. There are {self._names}.")
        self.offered += new
        lines = [f"{name}: {self._granted[name].spec.description[:300]}" for name in new]
        return ToolResult.of("These tools can be called now:\n" + "\n".join(lines))


def _function(held: Held) -> dict[str, Any]:
    """The tool as the model sees it; with its folders, which it could only guess."""
    spec = held.spec
    folders = ", ".join(map(str, held.roots))
    said = (
        f"{spec.description} Folders that it may use: {folders}." if folders else spec.description
    )
    return {"name": spec.name, "description": said, "input_schema": dict(spec.input_schema)}
