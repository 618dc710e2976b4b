"""A call that a server could not parse and returns inside its error.

- Groq: 400 with the code `tool_use_failed`, and what the model wrote in `failed_generation`
  (console.groq.com/docs/tool-use/local-tool-calling).
- llama-server before June 2026, and LM Studio with it: `Failed to parse input at pos N:`, and the
  text from there on (`common_chat_peg_parse` of its `common/chat.cpp`).
- llama-server since then: `The model produced output that does not match the expected peg-native
  format`, without the text; Ollama's parser for Qwen: an error of Go's JSON, without it, too.
- Ollama with gpt-oss: `error parsing tool call: raw='...', err=...`, with the arguments alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Final

import orjson

from plugway import BackendError, BackendRefused, Reply, StreamInterrupted, as_object, new_id
from plugway_tool_repair._pieces import Calls, Cut, Piece, Unread
from plugway_tool_repair._prose import Prose
from plugway_tool_repair._tools import Toolbox
from plugway_toolcalls import marks

PARSED_HERE: Final = "the server returned a call that it could not parse; it is parsed here"
_MOST: Final = 2**18
"""Maximum characters that are examined."""
_NAMED: Final = re.compile(r"(?:<function[=\s]\s*)?([\w.-]{1,128})[^\w{]{0,20}$")
"""Text before the arguments, if the name is given outside them."""
_LLAMA: Final = re.compile(r"Failed to parse input at pos \d+: (.+)", re.DOTALL)
_OLLAMA, _OLLAMA_END = "error parsing tool call: raw='", "', err="
_BEGINS: Final = re.compile("Failed to parse input at pos|error parsing tool call")
_WITHOUT_TEXT: Final = re.compile(
    r"model produced output that does not match the expected"
    r"|^(?:failed to parse JSON: )?(?:invalid character '.{1,4}' |unexpected end of JSON input)"
)
_NO_TEXT: Final = "[A reply that the server could not parse.]"
_NESTED: Final = 3
"""Maximum errors in errors."""
_REDACTED: Final = "[redacted]"
"""What replaces a key in an error: the text is not what the model wrote."""


@dataclass(frozen=True, slots=True)
class Unparsed:
    """What the model wrote, from a server's error."""

    text: str
    """With a call that can be parsed, if there is one."""
    is_call: bool
    """Whether `text` has calls of known tools, all of them complete."""
    is_attempt: bool
    """Whether the model tried to call a tool, so that it can be asked for the call again."""


def unparsed(failure: BackendError, toolbox: Toolbox) -> Unparsed | None:
    """The model's text inside an error; None if the error has none."""
    said, forms, sure = _said(failure)
    if not said or len(said) > _MOST:
        return None
    if _REDACTED in said:
        return Unparsed(said, is_call=False, is_attempt=False)
    read = lru_cache(partial(_kinds_in, toolbox))
    text = next((form for form in forms if _is_call(form, read)), "")
    if text:
        return Unparsed(text, is_call=True, is_attempt=True)
    tried = sure or Unread in read(said, cut=False) or Cut in read(said, cut=True)
    return Unparsed(said, is_call=False, is_attempt=tried)


def _said(failure: BackendError) -> tuple[str, Iterable[str], bool]:
    """The model's text, what it may stand for, and whether it can only be a call."""
    if isinstance(failure, BackendRefused) and b"failed_generation" in failure.body:
        error = as_object(_parsed(failure.body).get("error"))
        said = error.get("failed_generation")
        if error.get("code") != "tool_use_failed" or not isinstance(said, str):
            return "", (), False
        return said, _forms(said), False
    if failure.status < 500:
        return "", (), False
    message = _innermost(_message(failure))
    if found := _LLAMA.search(message):
        return found[1], (found[1],), False
    start, end = message.find(_OLLAMA), message.rfind(_OLLAMA_END)
    if start >= 0 and end > start:
        said = message[start + len(_OLLAMA) : end]
        return said, (said,), True
    lost = _WITHOUT_TEXT.search(message) is not None
    return (_NO_TEXT, (), True) if lost else ("", (), False)


def _message(failure: BackendError) -> str:
    """The whole message: that of the exception is shortened."""
    body = failure.body if isinstance(failure, BackendRefused | StreamInterrupted) else b""
    error = _parsed(body).get("error")
    return str(as_object(error).get("message") or error or failure.message)


def _innermost(message: str) -> str:
    """The message of an error that is quoted in others, as LM Studio writes those of its engine."""
    for _ in range(_NESTED):
        start = message.find("{")
        if start < 0 or _BEGINS.search(message, 0, start):
            break
        error = _parsed(message[start:]).get("error")
        message = str(as_object(error).get("message") or error or message)
    return message


def _parsed(text: bytes | str) -> dict[str, Any]:
    try:
        return as_object(orjson.loads(text))
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return {}


def message_of(text: str, model: str) -> Reply:
    """A reply with this text, which is then parsed and checked like any other."""
    return Reply.message(
        {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
    )


def _forms(said: str) -> Iterator[str]:
    """The text unchanged, and with a call marker that the model misspelled or omitted."""
    yield said
    start, end = said.find("{"), said.rfind("}")
    if start < 0 or end < start:
        return
    body = said[start : end + 1]
    yield f"<tool_call>{body}</tool_call>"
    if named := _NAMED.search(said[:start][-160:]):
        yield f"<function={named[1]}>{body}</function>"


def _is_call(text: str, read: Callable[..., set[type[Piece]]]) -> bool:
    """Whether the text has calls, all of them complete: the error does not tell whether the reply
    was cut off."""
    if Calls not in read(text, cut=False):
        return False
    return text.rstrip().endswith(marks.CLOSERS) or Cut not in read(text, cut=True)


def _kinds_in(toolbox: Toolbox, text: str, *, cut: bool) -> set[type[Piece]]:
    """The kinds of the pieces of a text."""
    prose = Prose(toolbox, Counter())
    return {type(piece) for piece in [*prose.feed(text), *prose.finish(cut=cut)]}
