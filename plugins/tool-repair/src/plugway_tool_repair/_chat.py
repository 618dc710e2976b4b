"""Calls in the text of a reply that is relayed to a client of Chat Completions.

Calls that the server parsed wait for the end, and pass if they are valid (`_native`). `_repairer`
interprets the text, `_chat_bytes` has the bytes, and `_stream` retries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from plugway import (
    InvalidRequest,
    Original,
    StreamEvent,
    as_list,
    as_object,
    event,
    new_id,
)
from plugway_tool_repair._blocks import BadCall
from plugway_tool_repair._native import NativeCalls
from plugway_tool_repair._repairer import Repairer
from plugway_tool_repair._tools import Toolbox, Verdict
from plugway_wire.events import cut_notice

Delta = dict[str, Any]
"""The `delta` of a choice."""
DIALECT: Final = "openai-chat"
"""The dialect of clients that speak Chat Completions."""
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_HIDDEN: Final = frozenset(("role", "content", "tool_calls"))
_REASONING: Final = frozenset(("reasoning", "reasoning_content"))
"""Members of a delta that are no content by themselves, and those with reasoning."""
_OWN_END: Final = frozenset(("stop", "tool_calls", "function_call"))
"""The `finish_reason` of a reply that the model ended itself."""


def own_names(original: Original) -> list[str]:
    """The client's names of its tools; empty if it does not accept a `function` call of each of
    them, or wants several choices."""
    try:
        tools = list(map(as_object, as_list(original.get("tools"))))
        if original.get("n") not in (None, 1):
            return []
    except InvalidRequest:
        return []
    if any(tool.get("type") != "function" for tool in tools):
        return []
    return [str(as_object(tool.get("function")).get("name")) for tool in tools]


class ChatText:
    """The text of one reply, and the deltas for the client."""

    def __init__(
        self,
        repairer: Repairer,
        toolbox: Toolbox,
        note: Callable[[str], None],
        *,
        whole: bool = False,
        hold_thinking: bool = False,
    ) -> None:
        """`whole`: nothing is sent before the end. `hold_thinking`: reasoning may wait, too."""
        self._repairer = repairer
        self._whole = whole
        self._hidden = _HIDDEN | _REASONING if hold_thinking else _HIDDEN
        self.shown = False
        """Whether the client gets content now, so that nothing is requested again."""
        self._note = note
        self._open = False
        self._index = -1
        """Index of the last block of the Messages API."""
        self._calls: list[list[str]] = []
        """Name and arguments of the calls found so far. They are sent last, because the server may
        have parsed them too."""
        self._native = NativeCalls(toolbox, note)
        """Those that the server parsed."""
        self.as_they_came = True
        """Whether those are sent as received; known at the end."""
        self.repeatable = False
        """Whether there is nothing besides a call that was cut off; known at the end."""

    @property
    def bad(self) -> BadCall | None:
        """The first bad call, unless bad calls are passed on."""
        bad = self._native.bad or self._repairer.bad
        if bad is None:
            return None
        others = [*bad.others, *self._native.kept, *((name, text) for name, text in self._calls)]
        return replace(bad, others=tuple({_key(*call): call for call in others}.values()))

    @property
    def cut(self) -> str | None:
        """Name of the first call that was cut off and removed."""
        return self._repairer.cut if self._repairer.cut is not None else self._native.cut

    def passes(self, text: str) -> bool:
        """Whether a piece of text goes out as it is; it is then taken note of."""
        return self._open and self._repairer.passes(text)

    def shows(self, delta: Mapping[str, Any]) -> None:
        """Take note of a delta that is sent as it came, but for its text and calls."""
        if not self.shown and any(delta[key] for key in delta if key not in self._hidden):
            self._show()

    def _show(self) -> None:
        self.shown = not self._whole
        self._repairer.judged = self._repairer.judged or self.shown

    def feed(self, text: str) -> list[Delta]:
        """The deltas for a piece of text."""
        found: list[Delta] = []
        if not self._open:
            self._open, self._index = True, self._index + 1
            block = {"type": "text", "text": ""}
            found += self._fed(event("content_block_start", index=self._index, content_block=block))
        delta = {"type": "text_delta", "text": text}
        return found + self._fed(event("content_block_delta", index=self._index, delta=delta))

    def parsed(self, calls: Iterable[Any], *, whole: bool = False) -> list[Delta]:
        """The deltas before pieces of calls that the server parsed; see `NativeCalls.add`."""
        self._native.add(calls, whole=whole)
        return self._leave()

    def end(self, reason: Any) -> list[Delta]:
        """The last deltas of a reply that ends with this `finish_reason`."""
        native, ending = self._native, {"stop_reason": _REASONS.get(reason, reason)}
        deltas = self._leave() + self._fed(event("message_delta", delta=ending))
        settled = native.settle(cut=reason not in _OWN_END, judged=self._repairer.judged)
        self.as_they_came = settled is None
        if native.left_out:
            deltas.append({"content": native.left_out})
        nothing = not (native.kept or self._calls or self._repairer.seen & {"text", "tool_use"})
        self.repeatable = nothing and not (self.shown or self._repairer.broken)
        if native.cut is not None and nothing and not self._repairer.broken:
            deltas.append({"content": cut_notice(native.cut, str(ending["stop_reason"]))})
        deltas += [{"tool_calls": [call]} for call in settled or ()]
        twice = [_key(*call) for call in native.kept]
        index = len(native) - 1
        for name, arguments in self._calls:
            if _key(name, arguments) in twice:
                self._note(f"the call to `{name}` was sent twice, as text and as a call")
                continue
            index += 1
            function = {"name": name, "arguments": arguments}
            call = {"index": index, "id": new_id("call"), "type": "function"}
            deltas.append({"tool_calls": [{**call, "function": function}]})
        return deltas

    def reason(self, received: Any) -> Any:
        """The matching `finish_reason`."""
        if self._repairer.cut is not None and not self._native.kept and not self._repairer.stopped:
            return "length"
        if received == "tool_calls" and self._native and not (self._native.kept or self._calls):
            return "stop"
        has_calls = bool(self._calls or self._native.kept)
        return "tool_calls" if has_calls and received in ("stop", None) else received

    def broken(self) -> list[Delta]:
        """The deltas of what is held back when the reply breaks off: text, and whole calls."""
        self._repairer.broken = self._repairer.judged = True
        return self.end(None)

    def _leave(self) -> list[Delta]:
        if not self._open:
            return []
        self._open = False
        return self._fed(event("content_block_stop", index=self._index))

    def _fed(self, item: StreamEvent) -> list[Delta]:
        deltas = [delta for made in self._repairer.feed(item) if (delta := self._delta(made))]
        if any("content" in delta or self._hidden == _HIDDEN for delta in deltas):
            self._show()
        return deltas

    def _delta(self, made: StreamEvent) -> Delta:
        block, delta = (as_object(made.data.get(name)) for name in ("content_block", "delta"))
        match block.get("type") or delta.get("type"):
            case "tool_use":
                self._calls.append([str(block.get("name")), ""])
            case "input_json_delta":
                self._calls[-1][1] += str(delta.get("partial_json"))
            case "text_delta":
                return {"content": delta.get("text")}
            case "thinking_delta":
                return {"reasoning_content": delta.get("thinking")}
            case _:
                pass
        return {}


def _key(name: str, arguments: str) -> tuple[str, bytes]:
    return Verdict(name, arguments).key
