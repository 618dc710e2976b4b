"""A call that a server could not parse and returns inside its error.

Groq: 400 with the code `tool_use_failed`, and what the model wrote in `failed_generation`
(console.groq.com/docs/tool-use/local-tool-calling).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

import orjson

from plugway import BackendRefused, Reply, as_object, new_id
from plugway_tool_repair._pieces import Calls, Unread
from plugway_tool_repair._prose import Prose
from plugway_tool_repair._tools import Toolbox

_MOST: Final = 2**18
"""Maximum characters that are examined."""
_NAMED: Final = re.compile(r"(?:<function[=\s]\s*)?([\w.-]{1,128})[^\w{]{0,20}$")
"""Text before the arguments, if the name is given outside them."""


def rescued(failure: BackendRefused, toolbox: Toolbox, model: str) -> Reply | None:
    """A reply with the text of the call, which is then parsed and checked like any other; None if
    the error contains no call of a known tool."""
    if b"failed_generation" not in failure.body:
        return None
    try:
        error = as_object(as_object(orjson.loads(failure.body)).get("error"))
    except orjson.JSONDecodeError:
        return None
    said = error.get("failed_generation")
    if error.get("code") != "tool_use_failed" or not isinstance(said, str) or len(said) > _MOST:
        return None
    text = next((form for form in _forms(said) if _holds(form, Calls, toolbox)), "")
    if not text and not _holds(said, Unread, toolbox):
        return None
    return Reply.message(
        {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text or said}],
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


def _holds(text: str, kind: type[Calls] | type[Unread], toolbox: Toolbox) -> bool:
    prose = Prose(toolbox, Counter())
    return any(isinstance(piece, kind) for piece in [*prose.feed(text), *prose.finish()])
