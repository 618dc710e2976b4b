"""Repairs a conversation so that each call has a unique id and its one result right after it.

Backends do this just before sending, because only then is it known what earlier plugins left of the
conversation, and which API it goes to. All APIs require it. Messages: "`tool_use` ids must be
unique", a result for each call in the very next message, and results before anything else in it
(platform.claude.com/docs, "Handle tool calls", "Troubleshooting tool use"). Chat: "An assistant
message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'".
Responses: "No tool output found for function call". Gemini: as many `functionResponse` parts as
there are `functionCall` parts in the turn before.

Conversations violate this after an interruption, a compaction or a change of gateway, and with
servers that restart their call numbers in each reply. No text is lost in the repair.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import orjson

from plugway import MessagesRequest, as_list, as_object
from plugway_translation._ids import safe_id
from plugway_translation._notes import Notes
from plugway_translation._text import blocks_of, result_media, result_text

NO_RESULT: Final = "[no result: the call was interrupted]"
"""Placeholder for a missing result."""

Block = dict[str, Any]
Outline = Iterable[tuple[str, Iterable[tuple[str, str]]]]
"""The role of each turn, with the type and the id of its blocks."""
_CALL: Final = "tool_use"
_RESULT: Final = "tool_result"


def paired_request(request: MessagesRequest, *, reuse: bool = False) -> MessagesRequest:
    """The request with valid pairs and ids; the same object if nothing changes.

    `reuse` is for APIs that identify a call within its turn: a later call may reuse an id.
    """
    raw = request.unparsed("messages")
    turns = None if raw is None else _seen(raw)
    if turns is not None and not _is_flawed(_outline_of(turns), strict=True, reuse=reuse):
        return request
    messages = as_list(request.get("messages"))
    if not _is_flawed(_outline(messages), strict=True, reuse=reuse):
        return request
    notes = Notes()
    found = paired(messages, notes, strict=True)
    return request.replace(because="; ".join(notes.lines()), messages=found)


def paired(messages: Sequence[Any], notes: Notes, *, strict: bool = False) -> Sequence[Any]:
    """Repair calls and results; returns the same object if nothing changes.

    Deterministic, so that cached prefixes stay valid. `strict` also replaces ids that the Messages
    API rejects, by `safe_id`.
    """
    if not _is_flawed(_outline(messages), strict=strict):
        return messages
    ids = [id_ for _, blocks in _outline(messages) for kind, id_ in blocks if kind == _CALL]
    pairing = _Pairing(notes, set(map(safe_id, ids)), strict=strict)
    turns = [as_object(message) for message in messages]
    at = 0
    while at < len(turns):
        heads = _run(turns, at, assistant=True)
        rest = _run(turns, at + len(heads), assistant=False)
        pairing.step(heads, rest)
        at += len(heads) + len(rest)
    return pairing.found


# ── detection ────────────────────────────────────────────────────────────────────────────────────


class _Block(msgspec.Struct):
    type: str = ""
    id: str = ""
    tool_use_id: str = ""


class _Turn(msgspec.Struct):
    role: str
    content: str | list[_Block]


_TURNS: Final = msgspec.json.Decoder(list[_Turn])


def _seen(raw: msgspec.Raw) -> list[_Turn] | None:
    """Decode only what is needed to check the pairs; None if the messages have another shape."""
    try:
        return _TURNS.decode(raw)
    except msgspec.DecodeError:
        return None


def _outline_of(turns: list[_Turn]) -> Outline:
    for turn in turns:
        blocks = () if isinstance(turn.content, str) else turn.content
        yield turn.role, ((b.type, b.id if b.type == _CALL else b.tool_use_id) for b in blocks)


def _outline(messages: Iterable[Any]) -> Outline:
    for message in map(as_object, messages):
        blocks = map(as_object, as_list(message.get("content")))
        yield str(message.get("role")), ((str(b.get("type")), _id_of(b)) for b in blocks)


def _id_of(block: Block) -> str:
    found = block.get("id" if block.get("type") == _CALL else "tool_use_id")
    return found if isinstance(found, str) else ""


def _is_flawed(outline: Outline, *, strict: bool, reuse: bool = False) -> bool:
    ids: set[str] = set()
    waiting: set[str] = set()
    for role, blocks in outline:
        if role == "assistant":
            if waiting:
                return True
            ids = set[str]() if reuse else ids
            for kind, id_ in blocks:
                if kind == _RESULT or (kind == _CALL and not _is_new(id_, ids, strict=strict)):
                    return True
                if kind == _CALL:
                    waiting.add(id_)
        else:
            if _breaks_pairs(role, blocks, waiting):
                return True
    return bool(waiting)


def _is_new(id_: str, ids: set[str], *, strict: bool) -> bool:
    safe = safe_id(id_)
    if safe in ids or (strict and safe != id_) or not id_:
        return False
    ids.add(safe)
    return True


def _breaks_pairs(role: str, blocks: Iterable[tuple[str, str]], waiting: set[str]) -> bool:
    """Whether a turn lacks a result of `waiting`, or has an extra or late one.

    Removes the found results from `waiting`.
    """
    late = role != "user"
    for kind, id_ in blocks:
        if kind == _CALL or (kind == _RESULT and (late or id_ not in waiting)):
            return True
        if kind == _RESULT:
            waiting.discard(id_)
        else:
            late = True
    return bool(waiting)


# ── repair ───────────────────────────────────────────────────────────────────────────────────────


class _Pairing:
    """Repairs a conversation step by step: assistant turns, and the turns that follow."""

    def __init__(self, notes: Notes, used: set[str], *, strict: bool) -> None:
        """`used` are the ids of all calls, as `safe_id` returns them."""
        self.found: list[Any] = []
        self._notes = notes
        self._used = used
        self._taken: set[str] = set()
        """Ids already assigned to a call."""
        self._numbers: dict[str, int] = {}
        """The last suffix of each id that several calls share."""
        self._strict = strict

    def step(self, heads: list[Block], rest: list[Block]) -> None:
        """Process consecutive assistant turns `heads` and the turns up to the next one."""
        heads = self._joined([self._replace_blocks(head, _RESULT) for head in heads])
        calls: dict[str, list[str]] = {}
        """New ids of the calls by their old id; the next one that needs a result is last."""
        self.found += [self._with_new_ids(head, calls) for head in heads]
        for ids in calls.values():
            ids.reverse()
        results: dict[str, Block] = {}
        others: list[Block] = []
        moved = False
        for number, turn in enumerate(rest):
            had = len(results)
            kept, late = self._without_results(self._replace_blocks(turn, _CALL), calls, results)
            moved = moved or late or (number > 0 and len(results) > had)
            others.append(kept)
        if not calls:
            self.found += others
            return
        if moved:
            self._notes.add(_RESULT, "translate", "moved next to its call")
        order = [_id_of(block) for block in _parts(self.found[-1]) if _is(block, _CALL)]
        self._place([results.get(id_) or self._missing(id_) for id_ in order], others)

    def _place(self, results: list[Block], others: list[Block]) -> None:
        """Add the turns after calls: results first, joined with a following user turn."""
        if others and others[0].get("role") == "user":
            results, others = [*results, *_parts(others[0])], others[1:]
        self.found.append({"role": "user", "content": results})
        self.found += [turn for turn in others if turn.get("content")]

    def _joined(self, heads: list[Block]) -> list[Block]:
        """Merge consecutive assistant turns, from the first with a call: no result is between
        them."""
        at = next((i for i, head in enumerate(heads) if _has(head, _CALL)), len(heads))
        if len(heads) - at < 2:
            return heads
        self._notes.add("messages", "translate", "consecutive assistant turns merged")
        blocks = [block for head in heads[at:] for block in _parts(head)]
        return [*heads[:at], {**heads[at], "content": blocks}]

    def _with_new_ids(self, head: Block, calls: dict[str, list[str]]) -> Block:
        if not _has(head, _CALL):
            return head
        blocks = _parts(head)
        for index, block in enumerate(blocks):
            if _is(block, _CALL):
                own = _id_of(block)
                new = self._new_id(own, safe_id(own))
                calls.setdefault(safe_id(own), []).append(new)
                blocks[index] = {**block, "id": new}
        return {**head, "content": blocks}

    def _new_id(self, own: str, safe: str) -> str:
        if safe in self._taken:
            self._notes.add("tool_use.id", "translate", "more than one call had the same id")
            own = safe = self._free(safe)
        elif own != safe and (self._strict or not own):
            self._notes.add("tool_use.id", "translate", "the API rejects this id format")
            own = safe
        self._used.add(safe)
        self._taken.add(safe)
        return own

    def _free(self, id_: str) -> str:
        """`id_` with a numeric suffix."""
        number = self._numbers.get(id_, 1) + 1
        while f"{id_}-{number}" in self._used:
            number += 1
        self._numbers[id_] = number
        return f"{id_}-{number}"

    def _without_results(
        self, turn: Block, calls: dict[str, list[str]], results: dict[str, Block]
    ) -> tuple[Block, bool]:
        """Move results of known calls from the turn into `results`, by their new ids.

        Returns the turn and whether a result came after other content. Other results become text.
        """
        if not _has(turn, _RESULT):
            return turn, False
        kept: list[Block] = []
        late = False
        for block in _parts(turn):
            if not _is(block, _RESULT):
                kept.append(block)
                continue
            ids = calls.get(safe_id(_id_of(block)), [])
            new = ids[-1] if ids and ids[-1] not in results else None
            if turn.get("role") != "user":
                kept += self._as_text(block, "not in a user turn", media=False)
            elif new is not None:
                late = late or bool(kept)
                results[new] = {**block, "tool_use_id": new}
                if len(ids) > 1:
                    ids.pop()
            elif ids and _same(block, results[ids[-1]]):
                self._notes.add(_RESULT, "drop", "it was sent twice")
            else:
                kept += self._as_text(
                    block, "its call already has a result" if ids else "it has no matching call"
                )
        return {**turn, "content": kept}, late

    def _replace_blocks(self, turn: Block, kind: str) -> Block:
        """Turn blocks of `kind`, which the turn's role cannot have, into text."""
        if not _has(turn, kind):
            return turn
        blocks: list[Block] = []
        for block in _parts(turn):
            if _is(block, kind):
                why = (
                    "only the assistant can call tools"
                    if kind == _CALL
                    else "the assistant cannot send results"
                )
                blocks += self._as_text(block, why, media=False)
            else:
                blocks.append(block)
        return {**turn, "content": blocks}

    def _as_text(self, block: Block, why: str, *, media: bool = True) -> list[Block]:
        """A call or a result as text, followed by its images and documents."""
        self._notes.add(str(block["type"]), "translate", f"{why}, sent as text")
        if _is(block, _CALL):
            arguments = orjson.dumps(block.get("input")).decode()
            text = f"[tool call] {block.get('name')}: {arguments}"
        else:
            text = f"[tool result]\n{result_text(block)}"
        shown = result_media(block)
        if shown and not media:
            self._notes.add(str(block["type"]), "drop", "media is not allowed there")
        return [{"type": "text", "text": text}, *(shown if media else [])]

    def _missing(self, id_: str) -> Block:
        self._notes.add(_RESULT, "emulate", "a call had none, a placeholder was added")
        return {"type": _RESULT, "tool_use_id": id_, "content": NO_RESULT}


def _run(turns: list[Block], at: int, *, assistant: bool) -> list[Block]:
    end = at
    while end < len(turns) and (turns[end].get("role") == "assistant") is assistant:
        end += 1
    return turns[at:end]


def _parts(turn: Block) -> list[Block]:
    """The blocks of a turn; none for an empty text."""
    content = turn.get("content")
    return [as_object(block) for block in blocks_of(content)] if content else []


def _is(block: Block, kind: str) -> bool:
    return block.get("type") == kind


def _has(turn: Block, kind: str) -> bool:
    return any(_is(as_object(block), kind) for block in as_list(turn.get("content")))


def _same(one: Block, other: Block) -> bool:
    return all(one.get(key) == other.get(key) for key in ("content", "is_error"))
