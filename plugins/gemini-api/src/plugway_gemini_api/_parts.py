"""Translates blocks of the Messages API into Gemini's parts, event by event. No I/O.

A thought is sent with `thought` if the client wants to see thoughts. Signed thinking blocks are
carried in the `thoughtSignature` of the following part (`_seal`); for a text that is its last part,
which is empty in a stream as in Google's: some clients end a line after a part with a signature. A
call is sent only when complete, because Gemini's JSON has its arguments as an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import StreamEvent, as_object
from plugway_gemini_api._seal import Sealed, sealed
from plugway_translation import ToolNames, decode_id, parse_arguments
from plugway_wire.bounds import is_deep
from plugway_wire.events import CUT_REASONS, cut_notice
from plugway_wire.gather import Gathered

Part = dict[str, Any]


class Parts:
    """Builds the parts of one reply."""

    def __init__(self, names: ToolNames, *, shows_thoughts: bool) -> None:
        self._names = names
        self._shows = shows_thoughts
        self._model = ""
        self._block: dict[str, Any] = {}
        """The start of the open block."""
        self._text = Gathered("a thought")
        self._loose: list[Sealed] = []
        """Thinking blocks that no part carries yet."""
        self._behind: list[Sealed] = []
        """Thinking blocks carried by a text; a following call carries them, too."""
        self._held: Part | None = None
        """A call without arguments, which may be truncated."""
        self._cut = ""
        """Name of a call with incomplete arguments."""
        self._said = False
        self._after_text = False
        """Whether the last part was a text."""
        self._signs_last = False
        """Whether the open text gets its signature at its end."""

    @property
    def broken(self) -> bool:
        """Whether a call was dropped because its arguments are not a JSON object."""
        return bool(self._cut)

    def start(self, model: str) -> None:
        """Start the reply; `model` is recorded in signatures."""
        self._model = model

    def event(self, event: StreamEvent) -> list[Part]:
        """Return the parts that a block event completes.

        Raises `BackendProtocolError` if a thought or a call is too long.
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
        """Return the remaining parts; at least one if the reply is empty."""
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
                # A text after another one gets it at once: it belongs between the two.
                self._signs_last = not self._after_text
                return self._delta(block)  # some upstreams send the first text with the start
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
                self._said = self._after_text = True
                part: Part = {"text": delta["text"]}
                return [part if self._signs_last else self._carrying(part)]
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
            case "text" if self._signs_last and self._after_text and self._loose:
                self._loose = [Sealed(one, before_text=True) for one, _ in self._loose]
                return [self._carrying({"text": ""})]
            case _:
                pass
        return []

    def _call(self, block: Mapping[str, Any]) -> list[Part]:
        text = self._text.text()
        arguments = parse_arguments(text) if text else as_object(block.get("input"))
        if arguments is None or is_deep(text.encode()):
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
        """Send the held call, now known to be complete."""
        part, self._held = self._held, None
        return self._made(part) if part is not None else []

    def _made(self, call: Part) -> list[Part]:
        self._said, self._after_text = True, False
        return [self._carrying(call)]

    def _carrying(self, part: Part) -> Part:
        """Add the preceding thinking to a part."""
        is_call = "functionCall" in part
        blocks = [*self._behind, *self._loose] if is_call else self._loose
        self._behind += [Sealed(block, before_text=True) for block, _ in self._loose]
        if is_call:
            self._behind = []
        self._loose = []
        return {**part, "thoughtSignature": sealed(blocks, self._model)} if blocks else part


def joined(parts: list[Part]) -> list[Part]:
    """Merge consecutive texts of one kind in a complete reply, and the signature at their end."""
    found: list[Part] = []
    pieces: list[str] = []
    for part in parts:
        if part.get("text") == "" and pieces and "thought" not in found[-1]:
            found[-1] |= part | {"text": found[-1]["text"]}
            continue
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
