"""Rules of the Messages API for the conversation.

Sources are named as in `_anthropic`; "tool pages" are platform.claude.com/docs, "Handle tool calls"
and "Troubleshooting tool use".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

from plugway import as_list, as_object
from plugway_testing._strict._anthropic_data import IMAGES, IN_RESULTS, MEMBERS, ONLY_IN, model_of
from plugway_testing._strict._rules import Object, Refusal, Request, Rule, objects

_IDS: Final = {
    "tool_use": "^[a-zA-Z0-9_-]+$",
    "server_tool_use": "^srvtoolu_[a-zA-Z0-9_]+$",
}
_THINKING: Final = ("thinking", "redacted_thinking")
_Block = tuple[str, Object]
"""A block and its path."""


def blocks(request: Request) -> Iterator[tuple[str, str, Object]]:
    """Yield role, path and block of every block; a string counts as one text block."""
    for index, turn in objects(request.body.get("messages")):
        role, content = str(turn.get("role")), turn.get("content")
        if isinstance(content, str):
            yield role, f"messages.{index}.content", {"type": "text", "text": content}
        for at, block in objects(content):
            yield role, f"messages.{index}.content.{at}", block


def turns(request: Request) -> list[tuple[int, str, list[_Block]]]:
    """The turns after merging consecutive ones: index of the first message, role, blocks."""
    found: list[tuple[int, str, list[_Block]]] = []
    for index, turn in objects(request.body.get("messages")):
        role, content = str(turn.get("role")), turn.get("content")
        added = [(f"messages.{index}.content.{at}", block) for at, block in objects(content)]
        if isinstance(content, str):
            added = [(f"messages.{index}.content", {"type": "text", "text": content})]
        if found and found[-1][1] == role:
            found[-1][2].extend(added)
        else:
            found.append((index, role, added))
    return found


def roles(request: Request) -> Iterator[Refusal]:
    """Roles are `user`, `assistant`, and for new models `system` after the first turn: SDK
    `message_param.py`, "Mid-conversation system messages"; reports (`Unexpected role "system"`)."""
    model = model_of(request.model)
    for index, turn in objects(request.body.get("messages")):
        role = turn.get("role")
        if role == "system" and (index == 0 or (model and not model.system_turns)):
            more = 'parameter, not "system" as an input message role.'
            text = 'Unexpected role "system". The Messages API accepts a top-level `system`'
            yield Refusal(f"messages: {text} {more}")
        elif role not in ("user", "assistant", "system"):
            yield Refusal(f"messages.{index}.role: Input should be 'user' or 'assistant'")


def members(request: Request) -> Iterator[Refusal]:
    """Fields of messages and blocks, and the roles that may have a block: SDK types; reports
    ("Extra inputs are not permitted", "`tool_use` blocks can only be in `assistant` messages")."""
    for index, turn in objects(request.body.get("messages")):
        for name in turn.keys() - {"role", "content"}:
            yield Refusal(f"messages.{index}.{name}: Extra inputs are not permitted")
    for role, place, block in blocks(request):
        yield from _members_of(block, place)
        kind = str(block.get("type"))
        if role in ("user", "assistant") and ONLY_IN.get(kind, role) != role:
            where = f"`{kind}` blocks can only be in `{ONLY_IN[kind]}` messages"
            yield Refusal(f"{'.'.join(place.split('.')[:2])}: {where}")
        if kind == "tool_result":
            for at, inner in objects(block.get("content")):
                yield from _members_of(inner, f"{place}.tool_result.content.{at}")
                if inner.get("type") not in IN_RESULTS:
                    problem = f"Input tag '{inner.get('type')}' found using 'type' does not match"
                    where = f"{place}.tool_result.content.{at}"
                    yield Refusal(f"{where}: {problem} any of the expected tags")
    for at, block in objects(request.body.get("system")):
        yield from _members_of(block, f"system.{at}")


def _members_of(block: Object, place: str) -> Iterator[Refusal]:
    kind = str(block.get("type"))
    known = MEMBERS.get(kind)
    if known is not None:
        for name in block.keys() - known:
            yield Refusal(f"{place}.{kind}.{name}: Extra inputs are not permitted")
    if "type" not in block:
        yield Refusal(f"{place}.type: Field required")


def needed_members(request: Request) -> Iterator[Refusal]:
    """Required fields of each block: SDK types marked `Required`."""
    needed = {
        "text": ("text",),
        "image": ("source",),
        "document": ("source",),
        "thinking": ("thinking", "signature"),
        "redacted_thinking": ("data",),
        "tool_use": ("id", "name", "input"),
        "tool_result": ("tool_use_id",),
    }
    for _role, place, block in blocks(request):
        kind = str(block.get("type"))
        for name in needed.get(kind, ()):
            if name not in block:
                yield Refusal(f"{place}.{kind}.{name}: Field required")
        if kind == "tool_use" and "input" in block and not isinstance(block["input"], dict):
            yield Refusal(f"{place}.tool_use.input: Input should be a valid dictionary")


def texts(request: Request) -> Iterator[Refusal]:
    """Texts must not be blank; only a final assistant turn may be empty: reports ("text content
    blocks must be non-empty", "... must contain non-whitespace text", "all messages must have
    non-empty content except for the optional final assistant message")."""
    found = [("messages", block) for _, place, block in blocks(request) if place.count(".") == 3]
    inside = [inner for _, block in found for _, inner in objects(block.get("content"))]
    found += [("messages", inner) for inner in inside]
    found += [("system", block) for _, block in objects(request.body.get("system"))]
    for where, block in found:
        text = block.get("text")
        if block.get("type") == "text" and isinstance(text, str) and not text.strip():
            rule = "contain non-whitespace text" if text else "be non-empty"
            yield Refusal(f"{where}: text content blocks must {rule}")
    last = len(as_list(request.body.get("messages"))) - 1
    for index, turn in objects(request.body.get("messages")):
        content = turn.get("content")
        blank = not content or (isinstance(content, str) and not content.strip())
        if blank and not (index == last and turn.get("role") == "assistant"):
            text = "all messages must have non-empty content except for the optional final"
            yield Refusal(f"messages.{index}: {text} assistant message")


def prefill(request: Request) -> Iterator[Refusal]:
    """New models require a final user turn; others allow a final assistant turn without trailing
    blanks. None allows one with thinking: errors page ("Prefill not supported");
    cortexkit/magic-context#511."""
    combined = turns(request)
    if not combined or combined[-1][1] != "assistant" or not combined[-1][2]:
        return
    model = model_of(request.model)
    thinks = as_object(request.body.get("thinking")).get("type") in ("enabled", "adaptive")
    if thinks or (model and not model.prefill):
        text = "This model does not support assistant message prefill."
        yield Refusal(f"{text} The conversation must end with a user message.")
    text = combined[-1][2][-1][1].get("text")
    if isinstance(text, str) and text.rstrip() != text:
        rule = "final assistant content cannot end with trailing whitespace"
        yield Refusal(f"messages: {rule}")


def call_ids(request: Request) -> Iterator[Refusal]:
    """Ids contain letters, digits, `_` and `-`, and are unique: reports
    ("String should match pattern '^[a-zA-Z0-9_-]+$'", "`tool_use` ids must be unique")."""
    seen: set[Any] = set()
    for _role, place, block in blocks(request):
        kind, call = str(block.get("type")), block.get("id")
        if kind in _IDS and not re.fullmatch(_IDS[kind][1:-1], str(call)):
            yield Refusal(f"{place}.{kind}.id: String should match pattern '{_IDS[kind]}'")
        if kind == "tool_use":
            if call in seen:
                yield Refusal("messages: `tool_use` ids must be unique")
            seen.add(call)
            name = block.get("name")
            if isinstance(name, str) and not 1 <= len(name) <= 200:
                bound = "at most 200 characters" if name else "at least 1 character"
                yield Refusal(f"{place}.tool_use.name: String should have {bound}")


def pairs(request: Request) -> Iterator[Refusal]:
    """Each call has exactly one result at the start of the next turn, and each result has a call:
    tool pages; anthropics/claude-code#2697 and others quote the errors."""
    combined = turns(request)
    called: list[str] = []
    for at, (index, role, content) in enumerate(combined):
        yield from _without_call(content, called)
        called = _ids(content, "tool_use", "id") if role == "assistant" else []
        if called:
            following = combined[at + 1][2] if combined[at + 1 :] else []
            yield from _without_result(index, called, following)


def _ids(content: list[_Block], kind: str, name: str) -> list[str]:
    return [str(block.get(name)) for _, block in content if block.get("type") == kind]


def _without_result(index: int, called: list[str], after: list[_Block]) -> Iterator[Refusal]:
    answered: list[str] = []
    for _, block in after:
        if block.get("type") != "tool_result":
            break
        answered.append(str(block.get("tool_use_id")))
    missing = [call for call in called if call not in answered]
    if missing:
        text = "`tool_use` ids were found without `tool_result` blocks immediately after:"
        more = "Each `tool_use` block must have a corresponding `tool_result` block in the next"
        yield Refusal(f"messages.{index}: {text} {', '.join(missing)}. {more} message.")


def _without_call(content: list[_Block], called: list[str]) -> Iterator[Refusal]:
    seen: set[str] = set()
    for place, block in content:
        if block.get("type") != "tool_result":
            continue
        call = str(block.get("tool_use_id"))
        if call not in called:
            text = f"unexpected `tool_use_id` found in `tool_result` blocks: {call}."
            more = "Each `tool_result` block must have a corresponding `tool_use` block in the"
            yield Refusal(f"{place}: {text} {more} previous message.")
        if call in seen:
            text = "each tool_use must have a single result. Found multiple `tool_result` blocks"
            yield Refusal(f"{place}: {text} with id: {call}")
        seen.add(call)


def thinking_first(request: Request) -> Iterator[Refusal]:
    """With a thinking budget, the turn with the pending calls starts with thinking: "Extended
    thinking" ("Preserving thinking blocks"), which quotes the 400."""
    if as_object(request.body.get("thinking")).get("type") != "enabled":
        return
    replies = [content for _, role, content in turns(request) if role == "assistant"]
    last = replies[-1] if replies else []
    if not _ids(last, "tool_use", "id") or last[0][1].get("type") in _THINKING:
        return
    text = f"Expected `thinking` or `redacted_thinking`, but found `{last[0][1].get('type')}`."
    more = "When `thinking` is enabled, a final `assistant` message must start with a thinking"
    yield Refusal(f"{last[0][0]}.type: {text} {more} block.")


def signatures(request: Request) -> Iterator[Refusal]:
    """Signatures of thinking are base64: "Extended thinking"; opencode#6418
    (`Invalid signature in thinking block`)."""
    for _role, place, block in blocks(request):
        if block.get("type") == "thinking" and not _is_base64(block.get("signature")):
            yield Refusal(f"{place}: Invalid `signature` in `thinking` block")


def _is_base64(value: Any) -> bool:
    try:
        return bool(base64.b64decode(str(value).encode("ascii"), validate=True))
    except (binascii.Error, UnicodeEncodeError):
        return False


def images(request: Request) -> Iterator[Refusal]:
    """Four media types, valid base64: "Vision"; SDK `base64_image_source_param.py`."""
    found = [(place, block) for _, place, block in blocks(request)]
    for place, block in list(found):
        found += [(f"{place}.content.{at}", inner) for at, inner in objects(block.get("content"))]
    for place, block in found:
        source = as_object(block.get("source"))
        if block.get("type") != "image" or source.get("type") != "base64":
            continue
        if source.get("media_type") not in IMAGES:
            expected = ", ".join(f"'{kind}'" for kind in IMAGES[:-1]) + f" or '{IMAGES[-1]}'"
            yield Refusal(f"{place}.image.source.base64.media_type: Input should be {expected}")
        if not _is_base64(source.get("data")):
            yield Refusal(f"{place}.image.source.base64: invalid base64 data")


TURNS: Final[tuple[Rule, ...]] = (
    roles,
    members,
    needed_members,
    texts,
    prefill,
    call_ids,
    pairs,
    thinking_first,
    signatures,
    images,
)
