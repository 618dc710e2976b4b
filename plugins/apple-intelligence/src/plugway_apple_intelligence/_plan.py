"""Translates a Messages request into a session of Apple's framework. Pure functions.

Transcript entries: `tests/tester_schemas/test_transcript_full.json` of apple/python-apple-fm-sdk,
and the docstring of `transcript.py` in apple-fm-sdk 0.2.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from plugway import as_list, as_object
from plugway_apple_intelligence._shape import Shape, packed, shape_of
from plugway_translation import (
    PLACEHOLDER_LEFT_OUT,
    Notes,
    Rule,
    ToolNames,
    Turn,
    arguments_of,
    block_text,
    drop_by,
    is_placeholder,
    media_of,
    media_placeholder,
    reminder,
    result_media,
    result_text,
    system_text,
    turns_of,
    type_name,
)

AFTER_RESULTS: Final = "Go on with the results of the tools."
"""The prompt if the last turn has only results: the framework answers prompts, not transcripts."""
MAX_NAME: Final = 64
_UNSENT: Final = "Apple's framework has no such field"
_ONE_PROVIDER: Final = Rule("drop", "only Anthropic supports it")
_SAMPLING: Final = Rule("drop", "apple-fm-sdk 0.2.1 does not pass it on")
FIELDS: Final[Mapping[str, Rule]] = {
    "cache_control": Rule("drop", "the framework has no cache markers"),
    "container": Rule("drop", "only Anthropic has containers"),
    "context_management": Rule("drop", "the framework does not edit context"),
    "diagnostics": _ONE_PROVIDER,
    "fallback_credit_token": _ONE_PROVIDER,
    "fallbacks": _ONE_PROVIDER,
    "inference_geo": _ONE_PROVIDER,
    "max_tokens": Rule("translate"),
    "mcp_servers": Rule("drop", "the framework does not call MCP servers"),
    "messages": Rule("translate"),
    "metadata": Rule("drop", _UNSENT),
    "model": Rule("preserve"),
    "output_config": Rule("translate"),
    "output_format": Rule("translate"),
    "service_tier": Rule("drop", _UNSENT),
    "speed": Rule("drop", _UNSENT),
    "stop_sequences": Rule("emulate"),
    "stream": Rule("preserve"),
    "system": Rule("translate"),
    "temperature": Rule("preserve"),
    "thinking": Rule("drop", "Apple's model does not think"),
    "tool_choice": Rule("translate"),
    "tools": Rule("translate"),
    "top_k": _SAMPLING,
    "top_p": _SAMPLING,
}
"""Top-level fields. Unlisted ones are dropped with a note."""


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """A client's tool as Apple's session gets it."""

    name: str
    """The client's name."""
    sent: str
    """The name that Apple's session gets."""
    description: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Plan:
    """What one request needs of a session."""

    prompt: str
    instructions: str = ""
    history: tuple[dict[str, Any], ...] = ()
    """Transcript entries after the instructions."""
    tools: tuple[OfferedTool, ...] = ()
    forced: tuple[OfferedTool, ...] = ()
    """Tools of which one must be called (`tool_choice` of type `any` or `tool`)."""
    one_call: bool = False
    reply: Shape | None = None
    """The shape of the whole reply (`output_config.format`)."""
    max_tokens: int = 1
    temperature: float | None = None
    stops: tuple[str, ...] = ()
    stream: bool = False
    notes: Notes = field(default_factory=Notes)


def plan_of(body: Mapping[str, Any]) -> Plan:
    """The plan for a Messages request."""
    notes = Notes()
    drop_by(FIELDS, list(body), notes)
    tools = _tools_of(body, notes)
    choice = as_object(body.get("tool_choice"))
    kind = choice.get("type")
    forced = tuple(t for t in tools if kind == "any" or t.name == choice.get("name"))
    instructions = system_text(body.get("system"), notes)
    history, prompt = _conversation(as_list(body.get("messages")), tools, notes)
    wanted, heat = body.get("max_tokens"), body.get("temperature")
    return Plan(
        prompt,
        instructions,
        history,
        () if kind == "none" else tools,
        forced if kind in ("any", "tool") else (),
        one_call=choice.get("disable_parallel_tool_use") is True,
        reply=_reply_shape(body, notes),
        max_tokens=wanted if isinstance(wanted, int) else 1,
        temperature=float(heat) if isinstance(heat, int | float) else None,
        stops=tuple(stop for stop in as_list(body.get("stop_sequences")) if stop),
        stream=body.get("stream") is True,
        notes=notes,
    )


def _tools_of(body: Mapping[str, Any], notes: Notes) -> tuple[OfferedTool, ...]:
    found: list[dict[str, Any]] = []
    for tool in map(as_object, as_list(body.get("tools"))):
        if is_placeholder(tool):
            notes.add("tools", "drop", PLACEHOLDER_LEFT_OUT)
        elif tool.get("type") not in (None, "custom") and "input_schema" not in tool:
            kind = type_name(tool.get("type"))
            notes.add("tools", "drop", f"`{kind}` runs on a vendor's servers, not here")
        elif isinstance(tool.get("name"), str):
            found.append(tool)
    names = ToolNames([tool["name"] for tool in found], MAX_NAME)
    return tuple(_tool_of(tool, names, notes) for tool in found)


def _tool_of(tool: Mapping[str, Any], names: ToolNames, notes: Notes) -> OfferedTool:
    sent = names.out(tool["name"])
    shape = shape_of(_with_fields(tool.get("input_schema")), sent, notes, "tools.input_schema")
    return OfferedTool(tool["name"], sent, str(tool.get("description") or ""), shape)


def _with_fields(schema: Any) -> Any:
    """A tool without parameters has an object without fields, not a JSON text."""
    given = as_object(schema)
    if given.get("properties") or given.keys() & {"anyOf", "oneOf", "allOf", "$ref"}:
        return given
    return {"type": "object", "properties": {}}


def _reply_shape(body: Mapping[str, Any], notes: Notes) -> Shape | None:
    wanted = as_object(as_object(body.get("output_config")).get("format"))
    wanted = wanted or as_object(body.get("output_format"))
    if wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        return None
    return shape_of(wanted["schema"], "Reply", notes, "output_config.format")


# ── the conversation ─────────────────────────────────────────────────────────────────────────


def _conversation(
    messages: list[Any], tools: Sequence[OfferedTool], notes: Notes
) -> tuple[tuple[dict[str, Any], ...], str]:
    """The entries of the transcript, and the prompt that the session answers."""
    turns = turns_of(messages, notes)
    while turns and turns[-1].role == "assistant":
        notes.add("messages", "drop", "the start of the reply: the framework cannot continue one")
        turns.pop()
    history = _History({tool.name: tool for tool in tools}, notes)
    prompt = ""
    for turn in turns:
        if turn.role == "assistant":
            history.assistant(turn)
            continue
        history.results(turn)
        text = history.text(turn.blocks)
        text = reminder(text) if turn.role == "system" and text else text
        if turn is turns[-1]:
            prompt = text or AFTER_RESULTS
        elif text:
            history.add("user", [text], options={})
    return tuple(history.entries), prompt


class _History:
    def __init__(self, tools: Mapping[str, OfferedTool], notes: Notes) -> None:
        self.entries: list[dict[str, Any]] = []
        self._tools = tools
        self._notes = notes
        self._called: dict[str, str] = {}

    def add(self, role: str, texts: Sequence[str], id_: str = "", **fields: Any) -> None:
        """Add an entry. Ids depend on the position only, so that equal requests are equal."""
        number = len(self.entries)
        found: dict[str, Any] = {"role": role, "id": id_ or _id(f"{number}"), **fields}
        if texts:
            found["contents"] = [
                {"type": "text", "id": _id(f"{number}.{at}"), "text": text}
                for at, text in enumerate(texts)
            ]
        self.entries.append(found)

    def assistant(self, turn: Turn) -> None:
        """Text first, then the calls as an entry of their own, as the framework writes them."""
        calls = [block for block in turn.blocks if block.get("type") == "tool_use"]
        thoughts = [b for b in turn.blocks if str(b.get("type")).endswith("thinking")]
        rest = [block for block in turn.blocks if block not in calls and block not in thoughts]
        if thoughts:
            self._notes.add("messages.thinking", "drop", "Apple's model does not think")
        if text := self.text(rest):
            self.add("response", [text], assets=[])
        if calls:
            self.add("response", [], toolCalls=[self._call(block) for block in calls])

    def results(self, turn: Turn) -> None:
        """The results of the calls before this turn."""
        for block in turn.results:
            media = self.text(result_media(block))
            text = "\n".join(filter(None, (result_text(block), media)))
            id_ = _id(str(block.get("tool_use_id")))
            name = self._called.get(id_, "")
            self.add("tool", [text], id_, toolCallID=id_, toolName=name)

    def text(self, blocks: Sequence[Mapping[str, Any]]) -> str:
        """Blocks as one text; images and documents as placeholders."""
        return "\n".join(filter(None, map(self._words, blocks)))

    def _words(self, block: Mapping[str, Any]) -> str:
        media = media_of(block, self._notes)
        if media is None:
            return block_text(block)
        if media.kind == "document" and media.text:
            return media.as_text
        because = "Plugway sends Apple's model text only"
        return media_placeholder(media, "placeholder", self._notes, because)

    def _call(self, block: Mapping[str, Any]) -> dict[str, Any]:
        id_, name = _id(str(block.get("id"))), str(block.get("name"))
        tool = self._tools.get(name)
        given = block.get("input")
        self._called[id_] = tool.sent if tool else name
        arguments = arguments_of(packed(tool.shape, given) if tool else given)
        return {"id": id_, "name": self._called[id_], "arguments": arguments}


def _id(key: str) -> str:
    """A UUID in the form that the framework writes, always the same for `key`."""
    return str(uuid5(NAMESPACE_URL, f"plugway:{key}")).upper()
