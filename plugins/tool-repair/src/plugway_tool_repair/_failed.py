"""A call that a server could not parse and returns inside its error.

- Groq: 400 with the code `tool_use_failed`, and what the model wrote in `failed_generation`
  (console.groq.com/docs/tool-use/local-tool-calling).
- llama-server before June 2026, and LM Studio with it: `Failed to parse input at pos N:`, and the
  text from there on (`common_chat_peg_parse` of its `common/chat.cpp`).
- llama-server since then: `The model produced output that does not match the expected peg-native
  format`, without the text; Ollama's parser for Qwen: an error of Go's JSON, without it, too.
- Ollama with gpt-oss: `error parsing tool call: raw='...', err=...`, with the arguments alone.

An error may also quote the conversation, which anybody may have written: only one that begins with
these words is about what the model wrote. Where the start of the text is missing, the rest may be
part of an argument: it is a call only if it contains nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
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
_MARKUP: Final = re.compile(r"<[^<>{}\s]{1,60}>|<\w{1,20}\(?$|```\w*")
"""What may stand around a call whose marker is misspelled: tags and fences, no other words."""
_LLAMA: Final = re.compile(r"Failed to parse input at pos (\d{1,9}): (.+)", re.DOTALL)
_OLLAMA, _OLLAMA_END = "error parsing tool call: raw='", "', err="
_WITHOUT_TEXT: Final = re.compile(
    r"The model produced output that does not match the expected"
    r"|(?:failed to parse JSON: )?(?:invalid character '.{1,4}' |unexpected end of JSON input)"
)
_NO_TEXT: Final = "[A reply that the server could not parse.]"
_WRAPPER: Final = re.compile(r"(?:Engine protocol \w+ request returned \d{3}: )?(?={)")
"""What LM Studio writes before an error of its engine."""
_NOTHING: Final = ("", (), False, 0)
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
    said, forms, sure, at = _said(failure)
    if not said or len(said) > _MOST:
        return None
    if _REDACTED in said:
        return Unparsed(said, is_call=False, is_attempt=False)
    read = lru_cache(partial(_pieces_in, toolbox))
    is_call = _is_all_calls if at else _is_call
    text = next((form for form in forms if is_call(form, read)), "")
    if text:
        return Unparsed(text, is_call=True, is_attempt=True)
    kinds = _kinds(read(said, cut=False)) | _kinds(read(said, cut=True))
    tried = sure or not kinds.isdisjoint((Calls, Unread, Cut))
    return Unparsed(said, is_call=False, is_attempt=tried)


def _said(failure: BackendError) -> tuple[str, Iterable[str], bool, int]:
    """The model's text, what it may stand for, whether it can only be a call, and where the text
    begins in the reply."""
    if isinstance(failure, BackendRefused) and b"failed_generation" in failure.body:
        error = as_object(_parsed(failure.body).get("error"))
        said = error.get("failed_generation")
        if error.get("code") != "tool_use_failed" or not isinstance(said, str):
            return _NOTHING
        return said, _forms(said), False, 0
    if failure.status < 500:
        return _NOTHING
    message = _innermost(_message(failure))
    if found := _LLAMA.match(message):
        return found[2], (found[2],), False, int(found[1])
    end = message.rfind(_OLLAMA_END)
    if message.startswith(_OLLAMA) and end > 0:
        return message[len(_OLLAMA) : end], (), True, 0
    return (_NO_TEXT, (), True, 0) if _WITHOUT_TEXT.match(message) else _NOTHING


def _message(failure: BackendError) -> str:
    """The whole message: that of the exception is shortened."""
    body = failure.body if isinstance(failure, BackendRefused | StreamInterrupted) else b""
    error = _parsed(body).get("error")
    return str(as_object(error).get("message") or error or failure.message)


def _innermost(message: str) -> str:
    """The message of an error that is quoted in others, as LM Studio writes those of its engine."""
    for _ in range(_NESTED):
        if not (wrapper := _WRAPPER.match(message)):
            break
        error = _parsed(message[wrapper.end() :]).get("error")
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
    """The text unchanged, and with a call marker that the model misspelled or omitted; the latter
    only without other words, because prose may quote a call."""
    yield said
    start, end = said.find("{"), said.rfind("}")
    if start < 0 or end < start:
        return
    before, body, after = said[:start], said[start : end + 1], said[end + 1 :]
    if _has_words(after):
        return
    if not _has_words(before):
        yield f"<tool_call>{body}</tool_call>"
    named = _NAMED.search(before[-160:])
    if named and not _has_words(before[: len(before) - len(named[0])]):
        yield f"<function={named[1]}>{body}</function>"


def _has_words(text: str) -> bool:
    return re.search(r"\w", _MARKUP.sub("", text)) is not None


def _is_call(text: str, read: Callable[..., Sequence[Piece]]) -> bool:
    """Whether the text has calls, all of them complete: the error does not tell whether the reply
    was cut off."""
    if Calls not in _kinds(read(text, cut=False)):
        return False
    return text.rstrip().endswith(marks.CLOSERS) or Cut not in _kinds(read(text, cut=True))


def _is_all_calls(text: str, read: Callable[..., Sequence[Piece]]) -> bool:
    """Whether the text, which may begin inside an argument, is nothing but whole calls. Reasoning
    may precede them."""
    for opening, closing in marks.THINKING.items():
        if text.startswith(opening):
            text = text.partition(closing)[2]
    calls = [piece for piece in read(text, cut=False) if isinstance(piece, Calls)]
    inner = "".join(arguments for call in calls for _, arguments in call.calls)
    whole = "".join("".join(call.source for call in calls).split()) == "".join(text.split())
    return whole and not any(mark in inner for mark in marks.CLOSERS) and _is_call(text, read)


def _pieces_in(toolbox: Toolbox, text: str, *, cut: bool) -> Sequence[Piece]:
    prose = Prose(toolbox, Counter())
    return [*prose.feed(text), *prose.finish(cut=cut)]


def _kinds(pieces: Sequence[Piece]) -> set[type[Piece]]:
    return {type(piece) for piece in pieces}
