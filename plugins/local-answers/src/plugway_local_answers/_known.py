"""Recognize requests that need no model, and write the replies to them. Pure functions.

Checked against Claude Code 2.1.329: it sends `quota` and `test` with `max_tokens: 1` at startup,
and a title request with a JSON schema. A request with tools, images, more than one turn or other
fields in its schema is never recognized.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway import as_list, as_object

TITLE_WORDS: Final = 6
TITLE_CHARACTERS: Final = 50
MAX_PROMPT_CHARACTERS: Final = 20_000
"""Characters of a prompt that are examined."""

_SESSION: Final = ("<session>", "</session>")
"""The text to name, in a prompt that continues with instructions."""
_SLIPPED_IN: Final = re.compile(r"<(system-reminder|command-\w+|local-command-\w+)>")
"""Start of text that the client adds to a prompt."""
_TAG: Final = re.compile(r"</?[a-z][\w-]*>")
_MARKUP: Final = re.compile(r"[`*_#>\[\]{}|\"“”]+")  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Known:
    """A request that needs no model."""

    kind: str
    """Kind of request: `probe`, `title` or `topic`."""
    text: str
    """Text of the reply."""
    why: str
    """Reason for the receipt."""


def probe(body: Mapping[str, Any], words: Collection[str]) -> Known | None:
    """A single probe word with `max_tokens: 1`: checks whether the server responds."""
    if body.get("max_tokens") != 1 or not _harmless(body, prefill=False):
        return None
    said = _text_of(as_list(body.get("messages"))[0])
    if said is None or said.strip().casefold() not in words:
        return None
    return Known("probe", "ok", f"a probe: `{said.strip()}` with `max_tokens: 1` needs no model")


def title(body: Mapping[str, Any]) -> Known | None:
    """A request for a session title, recognized by its schema: an object with one field `title`."""
    if _wanted(body) != ("title",) or not _harmless(body, prefill=False):
        return None
    prompt = _prompt(body)
    if prompt is None:
        return None
    answer = orjson.dumps({"title": title_of(prompt)}).decode()
    return Known("title", answer, "a title request: the first words of the prompt are the title")


def topic(body: Mapping[str, Any]) -> Known | None:
    """A request that asks whether a message starts a new topic, and for its title.

    Recognized by its schema, or by both field names in a system prompt that asks for JSON.
    """
    if not _harmless(body, prefill=True):
        return None
    if _wanted(body) != ("isNewTopic", "title"):
        system = _system_text(body)
        if "output_config" in body or not ("isNewTopic" in system and "JSON" in system):
            return None
    prompt = _prompt(body)
    if prompt is None:
        return None
    answer = orjson.dumps({"isNewTopic": True, "title": title_of(prompt)}).decode()
    return Known(
        "topic", _continued(body, answer), "a topic request: a first prompt is a new topic"
    )


def title_of(prompt: str) -> str:
    """The first words of a prompt as a title; the same prompt gives the same title."""
    text = _without_slipped_in(_session_in(prompt[:MAX_PROMPT_CHARACTERS]))
    words = _MARKUP.sub(" ", _TAG.sub(" ", text)).split()
    chosen = ""
    for word in words[:TITLE_WORDS]:
        longer = f"{chosen} {word}".strip()
        if len(longer) > TITLE_CHARACTERS:
            break
        chosen = longer
    chosen = (chosen or "".join(words[:1])[:TITLE_CHARACTERS]).rstrip(".,;:!? ")
    return chosen[:1].upper() + chosen[1:] if chosen else "New session"


def _session_in(prompt: str) -> str:
    begin, end = _SESSION
    _, found, rest = prompt.partition(begin)
    if not found:
        return prompt
    inside, closed, _ = rest.rpartition(end)
    return inside if closed else rest


def _without_slipped_in(text: str) -> str:
    pieces: list[str] = []
    at = 0
    for opening in _SLIPPED_IN.finditer(text):
        if opening.start() < at:
            continue
        closing = f"</{opening[1]}>"
        end = text.find(closing, opening.end())
        if end >= 0:
            pieces.append(text[at : opening.start()])
            at = end + len(closing)
    return " ".join([*pieces, text[at:]])


def estimated_tokens(body: Mapping[str, Any]) -> int:
    """Estimated tokens of the request: one per four characters."""
    read = {name: body[name] for name in ("system", "messages") if name in body}
    return max(1, len(orjson.dumps(read)) // 4)


def _harmless(body: Mapping[str, Any], *, prefill: bool) -> bool:
    """Whether it has no tools and one user turn; `prefill` allows the start of a reply after it."""
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    if prefill and len(messages) == 2 and messages[1].get("role") == "assistant":
        messages = messages[:1] if _text_of(messages[1]) == "{" else messages
    alone = len(messages) == 1 and messages[0].get("role") == "user"
    return alone and not any(body.get(name) for name in ("tools", "mcp_servers", "container"))


def _wanted(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of the reply's schema, sorted; empty unless `title` is a plain string."""
    form = as_object(as_object(body.get("output_config")).get("format"))
    schema = as_object(form.get("schema"))
    if form.get("type") != "json_schema" or schema.get("type") != "object":
        return ()
    fields = as_object(schema.get("properties"))
    plain = as_object(fields.get("title")).keys() <= {"type", "description", "anyOf"}
    kinds = as_object(fields.get("title")).get("type")
    return tuple(sorted(fields)) if plain and kinds in ("string", ["string", "null"]) else ()


def _prompt(body: Mapping[str, Any]) -> str | None:
    return _text_of(as_list(body.get("messages"))[0])


def _text_of(message: object) -> str | None:
    """The text of a turn; None if it has other content."""
    content = as_object(message).get("content")
    if isinstance(content, str):
        return content
    blocks = [as_object(block) for block in as_list(content)]
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    if len(texts) < len(blocks) or not all(isinstance(text, str) for text in texts):
        return None
    return "\n".join(map(str, texts))


def _system_text(body: Mapping[str, Any]) -> str:
    value = body.get("system")
    if isinstance(value, str):
        return value
    return "\n".join(str(as_object(block).get("text", "")) for block in as_list(value))


def _continued(body: Mapping[str, Any], answer: str) -> str:
    """The reply without the start that the client prefilled."""
    return answer[1:] if len(as_list(body.get("messages"))) == 2 else answer
