"""Convert the body of a Messages request to the messages and tools of a chat template.

The same body always gives the same messages. `_turns` shapes them for one template, and `_blocks`
converts content blocks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import as_list, as_object
from plugway_local_engine._blocks import BlockReader
from plugway_local_engine._probe import TemplateTraits
from plugway_local_engine._template import ChatTemplate
from plugway_local_engine._tools import tools_of
from plugway_local_engine._turns import Turn, shape_turns
from plugway_signature import parse_signature
from plugway_toolcalls import FAMILIES, Family, Tool, write_call
from plugway_translation import Notes, paired

ATTRIBUTION: Final = "x-anthropic-billing-header:"
_THINKING: Final = tuple({opening for family in FAMILIES for opening, _ in family.reasoning})
SEPARATOR: Final = "\n\n"
"""Text between the blocks of `system`."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A text whose end in the prompt gets a checkpoint."""

    kind: str
    """`system`, `message` or `cache_control`."""
    text: str
    in_system: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """The input of a template, and notes on the conversion."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    prefill: str = ""
    """Start of the reply, if the client wrote it."""
    images: tuple[Mapping[str, Any], ...] = ()
    """The `source` of each marked image, in order."""
    anchors: tuple[Anchor, ...] = ()
    notes: tuple[str, ...] = ()
    """What was dropped or changed, for the receipt."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the prompt that gets a checkpoint."""

    offset: int
    """Offset in characters."""
    kind: str
    """`system`, `message`, `cache_control`, or `end` (start of the reply's own header)."""
    in_message: bool = False
    """Whether a text of a message ends here, marked by the client or not."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt."""

    text: str
    thinking: bool
    """Whether the prompt has opened the reasoning, so that the reply starts inside it."""
    marks: tuple[Mark, ...] = ()
    notes: tuple[str, ...] = ()


def build_conversation(
    body: Mapping[str, Any],
    *,
    family: Family,
    traits: TemplateTraits,
    image_marker: str = "",
) -> Conversation:
    """The conversation of a Messages request, shaped for the template.

    `image_marker` is the text that the engine replaces with an image; `{}` in it is the image's
    number. Empty: placeholders.
    """
    reader = BlockReader(image_marker)
    tools, notes = tools_of(body)
    builder = _Builder(family, traits, reader, tools)
    system = builder.system(body.get("system"))
    pairs = Notes()
    for message in paired(as_list(body.get("messages")), pairs):
        builder.message(as_object(message))
    reader.notes += pairs.lines()
    turns, prefill = _split_prefill(builder.turns)
    messages = shape_turns(system, turns, traits, builder.write, reader.notes)
    return Conversation(
        messages=tuple(messages),
        tools=tuple(tool.for_template() for tool in tools) if traits.tools else (),
        prefill=prefill,
        images=tuple(reader.images),
        anchors=tuple(builder.anchors),
        notes=tuple(dict.fromkeys([*notes, *reader.notes])),
    )


def render_prompt(
    template: ChatTemplate,
    conversation: Conversation,
    *,
    extra: Mapping[str, Any] | None = None,
) -> Prompt:
    """The prompt, and the places in it that get a checkpoint.

    Raises:
        TemplateError: the template fails or rejects the conversation.
    """
    messages, tools = conversation.messages, conversation.tools
    text = template.render(messages, tools, extra=extra)
    without = template.render(messages, tools, extra=extra, add_generation_prompt=False)
    marks = _marks(text, conversation.anchors)
    if text.startswith(without) and len(without) < len(text):
        marks.append(Mark(len(without), "end"))
    thinking = _opens_thinking(text[len(without) if text.startswith(without) else 0 :])
    if conversation.prefill:
        return Prompt(text + conversation.prefill, False, tuple(marks))
    return Prompt(text, thinking, tuple(marks))


def _opens_thinking(header: str) -> bool:
    end = header.rstrip()
    return end.endswith(_THINKING)


def _marks(text: str, anchors: tuple[Anchor, ...]) -> list[Mark]:
    marks = _found(text, [anchor for anchor in anchors if anchor.in_system], 0)
    rest = [anchor for anchor in anchors if not anchor.in_system]
    after = marks[-1].offset if marks else 0
    # Some templates put the system text into the last user turn.
    start = after if rest and text.find(rest[0].text.strip(), after) >= 0 else 0
    return sorted([*marks, *_found(text, rest, start)], key=lambda mark: mark.offset)


def _found(text: str, anchors: list[Anchor], at: int) -> list[Mark]:
    marks: list[Mark] = []
    for anchor in anchors:
        needle = anchor.text.strip()
        found = text.find(needle, at) if needle else -1
        if found >= 0:
            at = found + len(needle)
            marks.append(Mark(at, anchor.kind, not anchor.in_system))
    return marks


def _split_prefill(turns: list[Turn]) -> tuple[list[Turn], str]:
    if turns and turns[-1].role == "assistant" and not turns[-1].calls:
        return turns[:-1], turns[-1].text.rstrip()
    return turns, ""


@dataclass
class _Builder:
    family: Family
    traits: TemplateTraits
    reader: BlockReader
    tools: tuple[Tool, ...]
    turns: list[Turn] = field(default_factory=list[Turn])
    anchors: list[Anchor] = field(default_factory=list[Anchor])
    _ids: dict[str, str] = field(default_factory=dict[str, str])
    _names: dict[str, str] = field(default_factory=dict[str, str])

    def system(self, value: Any) -> str:
        blocks: list[Any] = [value] if isinstance(value, str) else as_list(value)
        texts: list[str] = []
        for index, block in enumerate(blocks):
            text = self.reader.text_of(block if isinstance(block, str) else [block])
            if index == 0 and text.startswith(ATTRIBUTION):
                self.reader.notes.append("drop system: the attribution entry")
            elif text:
                texts.append(text)
                self._anchor(as_object(block), "system", text)
        if self.tools and not self.traits.tools:
            self.reader.notes.append(
                "emulate tools: the template does not support them, so they are described in text"
            )
            texts.append(_tools_as_text(self.family, self.tools))
        return SEPARATOR.join(texts)

    def message(self, message: Mapping[str, Any]) -> None:
        role, content = message.get("role"), message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        items = [as_object(block) for block in as_list(blocks)]
        if role == "assistant":
            self._assistant(items)
        elif role == "system":
            self._say("system", items)
        else:
            results = [item for item in items if item.get("type") == "tool_result"]
            for item in results:
                self._result(item)
            rest = [item for item in items if item.get("type") != "tool_result"]
            if rest or not results:
                self._say("user", rest)

    def write(self, turn: Turn) -> str:
        """The text of an assistant turn, with its calls written as text."""
        schemas = {tool.name: tool.schema for tool in self.tools}
        calls = [
            write_call(self.family, call.name, call.arguments, schemas.get(call.name))
            for call in turn.calls
        ]
        return "\n".join(part for part in (turn.text, *calls) if part)

    def _say(self, role: str, items: list[dict[str, Any]]) -> None:
        text = self.reader.text_of(items)
        self.turns.append(Turn(role, text))
        self._anchor_all(items, text)

    def _result(self, item: dict[str, Any]) -> None:
        client_id = str(item["tool_use_id"])
        text = self.reader.result(item)
        turn = Turn("tool", text, call_id=self._ids[client_id], error=bool(item.get("is_error")))
        turn.name = self._names[client_id]
        self.turns.append(turn)
        self._anchor_all([item], text)

    def _assistant(self, items: list[dict[str, Any]]) -> None:
        turn = Turn("assistant", "")
        texts: list[str] = []
        for item in items:
            match item.get("type"):
                case "thinking":
                    turn.reasoning += self._thinking(item)
                case "tool_use":
                    turn.call(
                        self._call_id(item), str(item.get("name", "")), as_object(item.get("input"))
                    )
                case _:
                    texts.append(self.reader.block(item))
        turn.text = "\n".join(text for text in texts if text)
        self.turns.append(turn)
        self._anchor_all(items, turn.text)

    def _thinking(self, item: dict[str, Any]) -> str:
        if parse_signature(item.get("signature")) is None:
            self.reader.notes.append("drop thinking: it is from another model")
        elif not self.traits.reasoning:
            self.reader.notes.append("drop thinking: the template does not accept it")
        else:
            return str(item.get("thinking", ""))
        return ""

    def _call_id(self, item: dict[str, Any]) -> str:
        client_id, name = str(item.get("id", "")), str(item.get("name", ""))
        if self.family.call_id == "indexed":
            own = f"functions.{name}:{len(self._ids)}"
        else:
            own = _nine(client_id)
        self._ids[client_id], self._names[client_id] = own, name
        return own

    def _anchor_all(self, items: list[dict[str, Any]], text: str) -> None:
        marked = next((item for item in items if item.get("cache_control")), as_object(None))
        self._anchor(marked, "message", text)

    def _anchor(self, block: Mapping[str, Any], kind: str, text: str) -> None:
        if text:
            shown = "cache_control" if block.get("cache_control") else kind
            self.anchors.append(Anchor(shown, text, in_system=kind == "system"))


def _nine(client_id: str) -> str:
    """Nine letters and digits, as Mistral's templates require."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    number = int.from_bytes(hashlib.sha256(client_id.encode()).digest()[:8])
    text = ""
    for _ in range(9):
        number, digit = divmod(number, 36)
        text += digits[digit]
    return text


def _tools_as_text(family: Family, tools: tuple[Tool, ...]) -> str:
    example = write_call(family, "TOOL_NAME", {"argument": "value"})
    lines = [json.dumps(tool.for_template()["function"], ensure_ascii=False) for tool in tools]
    return (
        "# Tools\n\nYou can call these tools, one JSON description per line:\n<tools>\n"
        + "\n".join(lines)
        + "\n</tools>\n\nTo call a tool, write this and nothing after it:\n"
        + example
    )
