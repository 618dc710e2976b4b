"""What a request says, whatever API it is written in: (feature, value) pairs that can be compared.

Each reader names what it finds as the Messages API does, so that what an API only calls by another
name is no difference.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

Facts = Counter[tuple[str, str]]

_BLOCK = {
    "text": ("type", "text"),
    "image": ("type", "source"),
    "document": ("type", "source", "title", "context"),
    "thinking": ("type", "thinking", "signature"),
    "tool_use": ("type", "id", "name", "input"),
    "tool_result": ("type", "tool_use_id", "content", "is_error"),
}
_OURS = {
    r"<system-reminder>\n(.*)\n</system-reminder>": "reminder",
    r"\[from the result of ([^]]*)\]": "moved media",
    r"\[shown in the next message, for ([^]]*)\]": "moved media",
    r"\[(image|document)[^]]* left out: [^]]*\]": "left out",
    r"^\[document: (paper.pdf)\]": "document.title",
    r"^(of last year)$": "document.context",
    r"^(\[container_upload\])": "container_upload",
    r"(Found\ns\nhit)": "search result in words",
    r"(\[no result: [^]]*\])": "no result",
    r"(\[document: notes.txt\]\nSome notes.)": "text document",
}
_ATTRIBUTION = "x-anthropic-billing-header:"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _schema_of(where: str) -> str:
    return "answer" if where.startswith("answer") else "schema"


class Reading:
    """Collects the facts of one request."""

    def __init__(self) -> None:
        self.facts: Facts = Counter()

    def add(self, feature: str, value: object = "") -> None:
        """One fact."""
        self.facts[feature, _plain(value)] += 1

    # ── schemas ──────────────────────────────────────────────────────────────────────────────

    def schema(self, value: Any, where: str, root: Any = None) -> None:
        """A schema, keyword by keyword; those that can be said in others are said in them, once
        it is noted that they were there."""
        root = value if root is None else root
        found = dict(value) if isinstance(value, dict) else {}
        found.pop("$defs", None)
        if "$ref" in found:
            self.add(f"{_schema_of(where)}.$ref", where)
            target = root
            for part in found.pop("$ref")[2:].split("/"):
                target = target[part]
            self.schema({**target, **found}, where, root)
            return
        for part in found.pop("allOf", ()):
            self.add(f"{_schema_of(where)}.allOf", where)
            inner = {**found.get("properties", {}), **part.get("properties", {})}
            found = {**part, **found, "properties": inner}
        if "oneOf" in found:
            self.add(f"{_schema_of(where)}.oneOf", where)
            found["anyOf"] = found.pop("oneOf")
        if "const" in found:
            self.add(f"{_schema_of(where)}.const", where)
            found["enum"] = [found.pop("const")]
            found.setdefault("type", "string")
        if isinstance(found.get("type"), list):
            self.add(f"{_schema_of(where)}.type", where)
            found["anyOf"] = [{"type": kind} for kind in found.pop("type")]
        if "prefixItems" in found:
            self.add(f"{_schema_of(where)}.prefixItems", where)
            found["items"] = {"anyOf": found.pop("prefixItems")}
        for key, item in found.items():
            self._member(key, item, where, root)

    def _member(self, key: str, item: Any, where: str, root: Any) -> None:
        if key == "properties":
            for name, part in item.items():
                self.schema(part, f"{where}.{name}", root)
        elif key == "anyOf":
            for number, part in enumerate(item):
                self.schema(part, f"{where}|{number}", root)
        elif key == "items":
            self.schema(item, f"{where}[]", root)
        elif not (key == "required" and not item):
            self.add(f"{_schema_of(where)}.{key}", f"{where}: {_plain(item)}")

    # ── what is said ─────────────────────────────────────────────────────────────────────────

    def said(self, role: str, words: str) -> None:
        """A text of a turn; what the gateway has put there is told apart by how it looks."""
        if words.startswith("[tool error]"):
            self.add("error mark")
            words = words.removeprefix("[tool error]").strip()
        for mark, feature in _OURS.items():
            if found := re.search(mark, words, re.DOTALL):
                self.add(feature, found[1])
                words = (words[: found.start()] + words[found.end() :]).strip("\n")
        for part in filter(None, words.split("\n\n")):  # texts may be joined
            self.add(f"{role} text", part)

    def system(self, texts: list[str]) -> None:
        """The system prompt; how it is cut into parts is nothing that it says."""
        kept = [words for words in texts if words and not words.startswith(_ATTRIBUTION)]
        for _ in range(len(texts) - len(kept)):
            self.add("attribution")
        self.add("system", "\n\n".join(kept))


def read_messages(body: dict[str, Any], betas: str = "") -> Facts:
    """A request of the Messages API."""
    reading = Reading()
    for value in filter(None, (value.strip() for value in betas.split(","))):
        reading.add(f"beta {value}")
    _fields(reading, body)
    system = body.get("system", [])
    blocks = [{"text": system}] if isinstance(system, str) else system
    reading.system([block["text"] for block in blocks])
    for block in blocks:
        _extras(reading, {**block, "type": "text"})
    for tool in body.get("tools", ()):
        _tool(reading, tool)
    for message in body["messages"]:
        _turn(reading, message)
    return reading.facts


def _fields(reading: Reading, body: dict[str, Any]) -> None:
    own = ("model", "stream", "system", "tools", "messages", "output_config", "tool_choice")
    for name in body.keys() - {*own, "thinking", "output_format"}:
        reading.add(name, body[name])
    if thinking := body.get("thinking"):
        reading.add("thinking.budget" if "budget_tokens" in thinking else "thinking", thinking)
    output = dict(body.get("output_config", {}))
    if older := body.get("output_format"):
        output["format"] = older
    for name, value in output.items():
        if name == "format":
            reading.schema(value["schema"], "answer")
        reading.add(f"output_config.{name}", "" if name == "format" else value)
    choice = body.get("tool_choice", {})
    if choice.get("type", "auto") != "auto":
        reading.add("tool_choice", f"{choice['type']} {choice.get('name', '')}".strip())
    if choice.get("disable_parallel_tool_use"):
        reading.add("one call")


def _tool(reading: Reading, tool: dict[str, Any]) -> None:
    if "input_schema" not in tool:
        reading.add("tools", tool["name"])
        return
    reading.add("tools.name", tool["name"])
    reading.add("tools.description", tool.get("description", ""))
    reading.schema(tool["input_schema"], tool["name"][:8])
    plain = {"name", "description", "input_schema", "cache_control"}
    for name in tool.keys() - plain:
        reading.add(f"tools.{name}", tool["name"][:8])
    if "cache_control" in tool:
        reading.add("cache_control")


def _turn(reading: Reading, message: dict[str, Any]) -> None:
    content, role = message["content"], message["role"]
    reading.add("turns", role)
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        _block(reading, role, block)


def _extras(reading: Reading, block: dict[str, Any]) -> None:
    for name in block.keys() - set(_BLOCK.get(block["type"], block)):
        reading.add(name, "" if name == "cache_control" else block[name])


def _block(reading: Reading, role: str, block: dict[str, Any]) -> None:
    _extras(reading, block)
    match block["type"]:
        case "text":
            reading.said(role, block["text"])
        case "image" | "document" as kind:
            said_of(reading, role, kind, block)
        case "thinking":
            reading.add("thinking blocks", block["thinking"])
        case "redacted_thinking":
            reading.add("thinking blocks", block["data"])
        case "tool_use":
            reading.add("call", [block["id"], block["name"], block["input"]])
        case "tool_result":
            content = block["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            reading.add("result", block["tool_use_id"])
            for part in parts:
                _block(reading, "tool", part)
            if block.get("is_error"):
                reading.add("is_error", block["tool_use_id"])
        case other:
            reading.add(other, block)


def said_of(reading: Reading, role: str, kind: str, block: dict[str, Any]) -> None:
    """A medium, and what is said of it."""
    source = block["source"]
    if source["type"] == "text":
        reading.add("document blocks")
        reading.add("text document", f"[document: {block['title']}]\n{source['data']}")
        return
    reading.add(kind, f"{role} {source.get('data') or source.get('url') or source['file_id']}")
    for name in ("title", "context"):
        if name in block:
            reading.add(f"document.{name}", block[name])
