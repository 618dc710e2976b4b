"""Answers by a schema: OpenAI requires an object as its root, so any other root is sent inside one,
and the reply is taken out of it again.

"Root objects must not be anyOf and must be an object" (OpenAI's guide to structured outputs).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from plugway import StreamEvent, as_object
from plugway_openai_wire._api import Reader
from plugway_translation import (
    ANSWER,
    Notes,
    SchemaRules,
    clean_schema,
    close_strict_objects,
    is_object,
    wrapped,
)

FIELD: Final = "output_config.format"
_START: Final = f'{{"{ANSWER}":'
_OPENS: Final = re.compile(rf'\s*\{{\s*"{ANSWER}"\s*:')
_MOST_HELD: Final = 4096
"""Characters that may be held back; beyond whitespace it is far fewer."""


def schema_of(body: Mapping[str, Any]) -> Any:
    """The schema of the answer; None if the request has none."""
    wanted = as_object(body.get("output_config")).get("format") or body.get("output_format")
    form = as_object(wanted)
    return form.get("schema") if form.get("type") == "json_schema" else None


def is_wrapped(body: Mapping[str, Any]) -> bool:
    """Whether the answer is requested inside an object."""
    schema = schema_of(body)
    return schema is not None and not is_object(schema)


def answer_schema(body: Mapping[str, Any], rules: SchemaRules, notes: Notes) -> Mapping[str, Any]:
    """The schema to send for that of a request."""
    schema = schema_of(body)
    if is_wrapped(body):
        schema = wrapped(schema)
        notes.add(FIELD, "translate", f"in an object, as `{ANSWER}`: its root must be one")
    made, cut = clean_schema(close_strict_objects(schema), rules, FIELD)
    notes.extend(cut)
    return made


def unwrapping(body: Mapping[str, Any], reader: Callable[[], Reader]) -> Callable[[], Reader]:
    """`reader`, or one that takes the answer out of its object if it was requested inside one."""
    return (lambda: UnwrappedReader(reader())) if is_wrapped(body) else reader


class UnwrappedReader:
    """Reads a response, without the object around its answer. Other text stays as it is."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._text = AnswerText()

    @property
    def ended(self) -> bool:
        """Whether `message_stop` was returned."""
        return self._reader.ended

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """The events for one event of the server's stream."""
        return list(self._unwrapped(self._reader.feed(data)))

    def end(self) -> list[StreamEvent]:
        """The last events."""
        return list(self._unwrapped(self._reader.end()))

    def whole(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """All events of a response that is not a stream."""
        return list(self._unwrapped(self._reader.whole(answer)))

    def _unwrapped(self, events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
        for event in events:
            data: Mapping[str, Any] = {}
            if event.type.startswith("content_block"):
                data = event.data
            delta = as_object(data.get("delta"))
            if event.type == "content_block_start":
                self._text = AnswerText()
            elif event.type == "content_block_stop" and (last := self._text.end()):
                yield _said(data.get("index"), last)
            elif delta.get("type") == "text_delta":
                if text := self._text.feed(str(delta.get("text"))):
                    yield _said(data.get("index"), text)
                continue
            yield event


def _said(index: Any, text: str) -> StreamEvent:
    kind = "content_block_delta"
    return StreamEvent(
        kind, {"type": kind, "index": index, "delta": {"type": "text_delta", "text": text}}
    )


class AnswerText:
    """The text of one block."""

    def __init__(self) -> None:
        self._held = ""
        self._opened = False
        self._plain = False

    def feed(self, text: str) -> str:
        """The text that may be sent now."""
        if self._plain:
            return text
        self._held += text
        if not self._opened:
            if not (opening := _OPENS.match(self._held)):
                self._plain = not self._may_open()
                return self._all() if self._plain else ""
            self._opened, self._held = True, self._held[opening.end() :].lstrip()
        end = len(self._held.rstrip())
        if self._held[:end].endswith("}") and len(self._held) - end < _MOST_HELD:
            end -= 1  # the object's own, unless more follows
        else:
            end = len(self._held)
        found, self._held = self._held[:end], self._held[end:]
        return found

    def end(self) -> str:
        """The text that was held back, without the end of the object."""
        return "" if self._opened else self._all()

    def _may_open(self) -> bool:
        return len(self._held) < _MOST_HELD and _START.startswith("".join(self._held.split()))

    def _all(self) -> str:
        found, self._held = self._held, ""
        return found
