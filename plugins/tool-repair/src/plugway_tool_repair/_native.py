"""Calls that a Chat Completions server parsed: held until they are complete, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from plugway import as_object, new_id
from plugway_tool_repair._blocks import BadCall
from plugway_tool_repair._tools import Toolbox, Verdict
from plugway_translation import Piece, Slot, Slots
from plugway_wire.gather import Gathered

LEFT_OUT: Final = "[{} was not made: its arguments are not valid JSON.]"
"""The text in place of a call that no client can read; `{}` is the call."""


@dataclass(slots=True)
class _Call:
    slot: Slot
    arguments: Gathered = field(default_factory=lambda: Gathered("the arguments of a tool call"))
    as_text: bool = True
    """Whether the arguments came as text, as the API defines."""

    @property
    def name(self) -> str:
        """The name of its tool, as received."""
        return self.slot.name


class NativeCalls:
    """The calls of one reply."""

    def __init__(self, toolbox: Toolbox, note: Callable[[str], None]) -> None:
        self._toolbox, self._note = toolbox, note
        self._slots = Slots(toolbox.tools)
        self._calls: list[_Call] = []
        self._numbered = True
        """Whether each piece came with the number of its call."""
        self.kept: list[tuple[str, str]] = []
        """Name and arguments of the calls that are sent; known once they are settled."""
        self.cut: str | None = None
        """Name of the call that was cut off and left out."""
        self.left_out = ""
        """Text in place of calls that are left out."""
        self.bad: BadCall | None = None
        """The first bad call, if the model may be asked again; known once they are settled."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, calls: Iterable[Any], *, whole: bool = False) -> None:
        """Add pieces of calls, or the calls of a `whole` reply.

        Raises:
            BackendProtocolError: there are too many calls, or their arguments are too long.
        """
        self._slots.next_list()
        for item in map(as_object, calls):
            piece = Piece.of(item)
            slot = self._slots.find(piece, whole=whole)
            if len(self._calls) < len(self._slots.all):
                self._calls.append(_Call(slot))
            self._numbered = self._numbered and (whole or item.get("index") == slot.number)
            slot.arguments.add(piece.arguments)
            call = self._calls[slot.number]
            call.arguments.add(piece.arguments)
            arguments = as_object(item.get("function")).get("arguments")
            call.as_text = call.as_text and (arguments is None or isinstance(arguments, str))

    def settle(self, *, cut: bool, judged: bool) -> list[dict[str, Any]] | None:
        """The calls for the client, each with its index; None if all are sent as they came.

        `cut`: the reply was cut off, so the last call may be incomplete. `judged`: bad calls are
        not requested again.
        """
        verdicts: dict[int, Verdict] = {}
        for index, call in enumerate(self._calls):
            if call.name and not call.slot.is_call:
                continue
            if cut and call is self._calls[-1] and not _is_whole(call):
                self._note(f"{self._toolbox.called(call.name)} was cut off and left out")
                self.cut = call.name
                continue
            text = call.arguments.text()
            verdicts[index] = self._toolbox.judge(call.name, text if text.strip() else "{}")
        bad = [verdict for verdict in verdicts.values() if verdict.problems]
        if bad and not judged:
            good = [(v.name, v.arguments) for v in verdicts.values() if not v.problems]
            self.bad = BadCall(bad[0].name, bad[0].arguments, bad[0].problems, others=tuple(good))
            return None
        return self._sent(verdicts)

    def _sent(self, verdicts: Mapping[int, Verdict]) -> list[dict[str, Any]] | None:
        """The calls for the client after these verdicts; None if all are sent as they came."""
        found: list[dict[str, Any]] = []
        ids: set[str] = set()
        same = self.cut is None and self._numbered
        for index, verdict in verdicts.items():
            call = self._calls[index]
            if not self._reports(verdict):
                same = False
                continue
            self.kept.append((verdict.name, verdict.arguments))
            same = same and call.as_text and verdict.arguments == call.arguments.text()
            same = same and verdict.name == call.name
            function = {"name": verdict.name, "arguments": verdict.arguments}
            own = call.slot.id
            identifier = own if own and own not in ids else new_id("call")
            ids.add(identifier)
            same = same and identifier == own
            sent = {"index": index, "id": identifier, "type": "function"}
            extra = {"extra_content": call.slot.extra} if call.slot.extra else {}
            found.append({**sent, "function": function, **extra})
        return None if same else found

    def _reports(self, verdict: Verdict) -> bool:
        """Whether the call is sent; the receipt says what happened to it."""
        called = self._toolbox.called(verdict.name)
        for fix in verdict.fixes:
            self._note(f"{called}: {fix}")
        if not verdict.problems:
            return True
        if verdict.is_readable:
            count = len(verdict.problems)
            self._note(f"{called} passed on unchanged, with {count} problem{'s'[: count > 1]}")
            return True
        self._note(f"{called} left out: its arguments are not a JSON object")
        self.left_out += LEFT_OUT.format(called[:1].upper() + called[1:])
        return False


def _is_whole(call: _Call) -> bool:
    try:
        return isinstance(orjson.loads(call.arguments.text()), dict)
    except orjson.JSONDecodeError:
        return False
