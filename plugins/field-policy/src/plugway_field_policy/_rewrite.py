"""Applies a policy to `system`, `tools` and `messages`. Pure and deterministic.

Unchanged parts keep their identity, so that their bytes can be reused.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from plugway import as_list, as_object
from plugway_field_policy._policy import Policy
from plugway_field_policy._presets import BETA_BLOCKS, SERVER_BLOCKS
from plugway_translation import (
    PLACEHOLDER_LEFT_OUT,
    block_text,
    is_attribution,
    is_placeholder,
    readable_text,
    reminder,
    type_name,
)

_TURN_KEYS: Final = frozenset(("role", "content"))


class Rewriter:
    """One pass over a request; `notes` counts the changes, for the receipt."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._keys = policy.block_keys
        self.notes: Counter[str] = Counter()
        self.hoisted: list[dict[str, Any]] = []
        """Texts of system turns to append to `system`."""

    def because(self) -> str:
        """Describe the changes since the last call."""
        parts = [note if n == 1 else f"{note} ({n} times)" for note, n in self.notes.items()]
        self.notes.clear()
        return "; ".join(parts)

    # ── system ───────────────────────────────────────────────────────────────────────────────

    def system(self, value: Any) -> Any:
        """`system` without the attribution entry, with supported blocks."""
        if not isinstance(value, list):
            return value
        blocks: list[Any] = as_list(value)
        first = 0
        if "attribution" not in self._policy.takes:
            while first < len(blocks) and is_attribution(as_object(blocks[first]).get("text")):
                first += 1
                self.notes["the attribution entry would break every cached prefix"] += 1
        kept = blocks[first:] if first else blocks
        return self._blocks(kept)

    # ── tools ────────────────────────────────────────────────────────────────────────────────

    def tools(self, tools: list[Any]) -> list[Any]:
        """The tools that the server supports, with the fields it accepts."""
        kept: list[Any] = []
        for tool in tools:
            new = self._tool(tool)
            if new is not None:
                kept.append(new)
        same = len(kept) == len(tools) and all(a is b for a, b in zip(kept, tools, strict=True))
        return tools if same else kept

    def _tool(self, tool: Any) -> Any:
        fields = as_object(tool)
        keys = self._policy.tool_keys
        if keys is not None and fields.keys() <= keys and "type" not in fields:
            return tool
        if is_placeholder(fields) and "tools.defer_loading" not in self._policy.takes:
            self.notes[f"{PLACEHOLDER_LEFT_OUT}: left out"] += 1
            return None
        kind = fields.get("type")
        typed = kind not in (None, "custom") and "input_schema" not in fields
        if typed and "server_tools" not in self._policy.takes:
            name = fields.get("name")
            self.notes[
                f"`{name}` (`{type_name(kind)}`) is specific to Anthropic, no schema: left out"
            ] += 1
            return None
        if keys is None or typed or fields.keys() <= keys:
            return tool
        return self._without(fields, fields.keys() - keys)

    # ── messages ─────────────────────────────────────────────────────────────────────────────

    def messages(self, messages: list[Any]) -> list[Any]:
        """The conversation with what the server accepts."""
        turns: list[Any] = []
        changed = False
        keep_system = self._policy.system_turns == "keep"
        last, alike = "", False
        for message in messages:
            turn, role, content = message, message["role"], message["content"]
            if role == "system" and not keep_system:
                turn, role = self._system_turn(as_object(message)), "user"
            else:
                new = self._blocks(content) if content.__class__ is list else content
                if new is not content or len(message) > 2:
                    turn = self._turn(as_object(message), new)
            changed = changed or turn is not message
            if turn is not None:
                turns.append(turn)
                alike, last = alike or role == last, role
        if alike and self._policy.merge_turns:
            return self._merged(turns)
        return turns if changed else messages

    def _turn(self, message: dict[str, Any], content: Any) -> dict[str, Any]:
        if len(message) > 2 and "beta_blocks" not in self._policy.takes:
            message = self._without(message, message.keys() - _TURN_KEYS)
        return message if content is message["content"] else {**message, "content": content}

    def _system_turn(self, message: dict[str, Any]) -> dict[str, Any] | None:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [_text_of(b) for b in as_list(content)]
        text = "\n\n".join(filter(None, texts))
        if not text:
            self.notes["an empty system turn left out"] += 1
            return None
        if self._policy.system_turns == "hoist":
            self.notes["a system turn moved to `system`, as configured"] += 1
            self.hoisted.append(text_block(text))
            return None
        self.notes["a system turn sent as a reminder in a user turn"] += 1
        return {"role": "user", "content": [text_block(reminder(text))]}

    def _merged(self, turns: list[Any]) -> list[Any]:
        groups: list[list[Any]] = []
        for turn in turns:
            if groups and groups[-1][0]["role"] == turn["role"]:
                groups[-1].append(turn)
                self.notes["consecutive turns of one role merged, for chat templates"] += 1
            else:
                groups.append([turn])
        return [_joined(group) for group in groups]

    # ── blocks ───────────────────────────────────────────────────────────────────────────────

    def _blocks(self, blocks: list[Any]) -> list[Any]:
        new: list[Any] | None = None
        keys_of = self._keys
        for index, block in enumerate(blocks):
            changed = block
            if block.__class__ is dict:  # a hot path: avoids function calls
                kind = block.get("type")
                keys = keys_of.get(kind) if kind.__class__ is str else None
                if keys is None or not block.keys() <= keys or kind == "tool_result":
                    changed = self._block(block, str(kind), keys)
            if changed is not block and new is None:
                new = blocks[:index]
            if new is not None:
                new.append(changed)
        return blocks if new is None else new

    def _block(
        self, fields: dict[str, Any], kind: str, keys: frozenset[str] | None
    ) -> dict[str, Any]:
        if keys is None:
            return self._unknown(fields, kind)
        if kind == "tool_result" and isinstance(content := fields.get("content"), list):
            inner = self._blocks(as_list(content))
            if inner is not content:
                fields = {**fields, "content": inner}
        return fields if fields.keys() <= keys else self._without(fields, fields.keys() - keys)

    def _unknown(self, block: dict[str, Any], kind: str) -> dict[str, Any]:
        takes = self._policy.takes
        if kind == "tool_reference":
            known = "tool_reference" in takes
        elif kind == "server_tool_use" or kind.endswith(SERVER_BLOCKS):
            known = "server_tools" in takes
        else:
            known = kind not in BETA_BLOCKS or "beta_blocks" in takes
        if not known:
            self.notes[f"a `{type_name(kind)}` block written as text"] += 1
            return text_block(block_text(block))
        if "cache_control" in block and "cache_control" not in takes:
            return self._without(block, {"cache_control"})
        return block

    def _without(self, fields: dict[str, Any], names: set[str]) -> dict[str, Any]:
        for name in sorted(names):
            self.notes[f"`{name}` left out"] += 1
        return {key: value for key, value in fields.items() if key not in names}


def text_block(text: str) -> dict[str, Any]:
    """A text block; never empty, because the API rejects that."""
    return {"type": "text", "text": text or "(nothing)"}


def _text_of(block: Any) -> str:
    fields = as_object(block)
    return (
        readable_text(fields.get("text", ""))
        if fields.get("type") == "text"
        else block_text(fields)
    )


def _joined(turns: list[Any]) -> Any:
    """Merge turns; tool results come first, as the API requires."""
    if len(turns) == 1:
        return turns[0]
    blocks: list[Any] = []
    for turn in turns:
        content = turn["content"]
        if isinstance(content, list):
            blocks += as_list(content)
        elif content:
            blocks.append(text_block(content))
    results = [block for block in blocks if as_object(block).get("type") == "tool_result"]
    if results:
        blocks = [*results, *(b for b in blocks if as_object(b).get("type") != "tool_result")]
    return {"role": turns[0]["role"], "content": blocks}
