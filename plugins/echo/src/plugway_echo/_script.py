"""Parse the orders that a prompt gives to the echo backend. Pure functions.

A line of the last user turn that starts with `echo:` is an order:

    echo: tool Write {"file_path": "a.txt", "content": "hi"}    call a tool
    echo: error 529 overloaded                                  fail with a status
    echo: delay 0.5                                             wait before each piece
    echo: words 100                                             reply with that many words

Other text is repeated in the reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from plugway import as_list, as_object

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


@dataclass(frozen=True, slots=True)
class Script:
    """The contents of the reply."""

    pieces: tuple[str, ...] = ()
    tool_calls: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    error: int = 0
    error_text: str = ""

    def error_body(self) -> bytes:
        """The error in the format of the Messages API."""
        kind = ERROR_TYPES.get(self.error, "api_error")
        error = {"type": kind, "message": self.error_text or "as the prompt asked"}
        return orjson.dumps({"type": "error", "error": error})


def read_script(body: Mapping[str, Any], model: str) -> Script:
    """The script in the last user turn of a request."""
    turns = [m for m in map(as_object, as_list(body.get("messages"))) if m.get("role") == "user"]
    text, results = _last_turn(turns[-1] if turns else {})
    if results:
        return Script(pieces=(f"The tool answered: {results[-1][:200]}",))
    tools: list[tuple[str, str]] = []
    delay, error, error_text = 0.0, 0, ""
    words: tuple[str, ...] = ()
    for line in text.splitlines():
        order, _, rest = line.strip().removeprefix("echo:").strip().partition(" ")
        if not line.strip().startswith("echo:"):
            continue
        if order == "tool":
            name, _, arguments = rest.partition(" ")
            tools.append((name, arguments or "{}"))
        elif order == "delay":
            delay = _number(rest)
        elif order == "words":
            words = tuple(f"word{i} " for i in range(min(int(_number(rest)), 100_000)))
        elif order == "error":
            status, _, error_text = rest.partition(" ")
            error = int(_number(status)) or 500
    if tools or error or words:
        return Script(words, tuple(tools), delay, error, error_text)
    tool_count = len(as_list(body.get("tools")))
    said = text.strip()[-2000:] or "nothing"
    return Script((f"[{model}, {tool_count} tools] You said: ", said), delay=delay)


def _last_turn(message: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The text of a turn without the client's reminders, and its tool results."""
    content = message.get("content")
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    results: list[str] = []
    for block in map(as_object, as_list(content)):
        if block.get("type") == "text" and "<system-reminder>" not in str(block.get("text")):
            texts.append(str(block.get("text", "")))
        elif block.get("type") == "tool_result":
            results.append(_plain(block.get("content")))
    return "\n".join(texts), results


def _plain(content: object) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(as_object(block).get("text", "")) for block in as_list(content))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def count_tokens(body: Mapping[str, Any]) -> int:
    """Estimated tokens of the prompt: a quarter of the characters that a model would read."""
    read = {k: body[k] for k in ("system", "messages", "tools") if k in body}
    return max(1, len(orjson.dumps(read)) // 4)
