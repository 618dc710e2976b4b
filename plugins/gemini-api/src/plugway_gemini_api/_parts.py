"""Blocks of the Messages API as Gemini's parts, event by event. No I/O.

A thought comes with `thought`, where the client wants to see any; the blocks as their maker signed
them travel in the `thoughtSignature` of the part behind them (`_seal`). A call comes whole: its
arguments are an object in Gemini's JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import CUT_REASONS, Gathered, StreamEvent, as_object, cut_notice
from plugway_gemini_api._seal import Sealed, sealed
from plugway_translation import ToolNames, decode_id, parse_arguments

Part = dict[str, Any]


class Parts:
    """Makes the parts of one answer."""

    def __init__(self, names: ToolNames, *, shows_thoughts: bool) -> None:
        self._names = names
        self._shows = shows_thoughts
        self._model = ""
        self._block: dict[str, Any] = {}
        """The block that is open, as it began."""
        self._text = Gathered("a thought")
        self._loose: list[Sealed] = []
        """Thinking blocks that no part carries yet."""
        self._behind: list[Sealed] = []
        """Those that a text carries: a call behind it carries them too."""
        self._held: Part | None = None
        """A call without arguments, which may have been cut off."""
        self._cut = ""
        """Name of the call whose arguments are not whole."""
        self._said = False

    @property
    def broken(self) -> bool:
        """A call was left out, because its arguments are no JSON object."""
        return bool(self._cut)

    def start(self, model: str) -> None:
        """The answer begins; `model` is named in signatures."""
        self._model = model

    def event(self, event: StreamEvent) -> list[Part]:
        """The parts that one event of a block completes.

        Raises `BackendProtocolError` where a thought or a call is too long.
        """
        data = event.data
        match event.type:
            case "content_block_start":
                return [*self._released(), *self._open(as_object(data.get("content_block")))]
            case "content_block_delta":
                return self._delta(as_object(data.get("delta")))
            case "content_block_stop":
                return self._close()
            case _:
                return []

    def end(self, stop_reason: str) -> list[Part]:
        """The parts that are left at the end, one at least where nothing was said."""
        cut = stop_reason in CUT_REASONS
        if cut and self._held is not None:
            self._cut, self._held = str(self._held["functionCall"]["name"]), None
        found = self._released()
        if cut and self._cut and not self._said:
            found.append({"text": cut_notice(self._cut, stop_reason)})
        if self._loose:
            found.append(self._carrying({"text": ""}))
        return found

    def _open(self, block: dict[str, Any]) -> list[Part]:
        self._block = block
        match block.get("type"):
            case "text":
                return self._delta(block)  # an upstream may put the first text into the start
            case "thinking":
                self._text = Gathered("a thought")
                return self._delta(block)
            case "tool_use":
                self._text = Gathered("a call")
            case _:
                pass
        return []

    def _delta(self, delta: Mapping[str, Any]) -> list[Part]:
        match delta.get("type"):
            case "text_delta" | "text" if delta.get("text"):
                self._said = True
                return [self._carrying({"text": delta["text"]})]
            case "thinking_delta" | "thinking" if delta.get("thinking"):
                self._text.add(str(delta["thinking"]))
                return [{"text": delta["thinking"], "thought": True}] if self._shows else []
            case "signature_delta":
                self._block["signature"] = delta.get("signature")
            case "input_json_delta" if self._block.get("type") == "tool_use":
                self._text.add(str(delta.get("partial_json") or ""))
            case _:
                pass
        return []

    def _close(self) -> list[Part]:
        block, self._block = self._block, {}
        match block.get("type"):
            case "thinking":
                self._loose.append(Sealed({**block, "thinking": self._text.text()}))
            case "redacted_thinking":
                self._loose.append(Sealed(block))
            case "tool_use":
                return self._call(block)
            case _:
                pass
        return []

    def _call(self, block: Mapping[str, Any]) -> list[Part]:
        text = self._text.text()
        arguments = parse_arguments(text) if text else as_object(block.get("input"))
        if arguments is None:
            self._cut = str(block.get("name"))
            return []
        name = self._names.back(str(block.get("name")))
        call = {"id": decode_id(str(block.get("id"))), "name": name, "args": arguments}
        part: Part = {"functionCall": call}
        if not text and not arguments:
            self._held = part
            return []
        return self._made(part)

    def _released(self) -> list[Part]:
        """The call that was held: what follows shows that it is whole."""
        part, self._held = self._held, None
        return self._made(part) if part is not None else []

    def _made(self, call: Part) -> list[Part]:
        self._said = True
        return [self._carrying(call)]

    def _carrying(self, part: Part) -> Part:
        """The part with the thinking that stood before it."""
        is_call = "functionCall" in part
        blocks = [*self._behind, *self._loose] if is_call else self._loose
        self._behind += [Sealed(block, before_text=True) for block, _ in self._loose]
        if is_call:
            self._behind = []
        self._loose = []
        return {**part, "thoughtSignature": sealed(blocks, self._model)} if blocks else part


def joined(parts: list[Part]) -> list[Part]:
    """The parts of a whole answer: texts of one kind that follow each other are one."""
    found: list[Part] = []
    pieces: list[str] = []
    for part in parts:
        plain = part.keys() <= {"text", "thought"}
        if plain and pieces and ("thought" in part) is ("thought" in found[-1]):
            pieces.append(part["text"])
            continue
        if pieces:
            found[-1]["text"] = "".join(pieces)
        found.append(dict(part))
        pieces = [part["text"]] if "text" in part else []
    if pieces:
        found[-1]["text"] = "".join(pieces)
    return found
