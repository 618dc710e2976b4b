"""The parts of a request body that make up its prompt, in any API, parsed only where needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, overload

import msgspec
import orjson

from plugway import MessagesRequest, Original, as_list, as_object

_TOOLS: Final = ("tools",)
_SYSTEM: Final = ("system", "instructions", "systemInstruction", "system_instruction")
_MESSAGES: Final = ("messages", "input", "contents")
_STORED: Final = ("previous_response_id", "conversation", "cachedContent", "cached_content")
"""Fields that refer to a part of the prompt that the server stores."""
_FUNCTIONS: Final = ("functionDeclarations", "function_declarations")
_PARTS: Final = {
    "text": "text",
    **dict.fromkeys(("functionCall", "function_call"), "tool_use"),
    **dict.fromkeys(("functionResponse", "function_response"), "tool_result"),
    **dict.fromkeys(("inlineData", "inline_data", "fileData", "file_data"), "image"),
}
_SPLIT: Final = msgspec.json.Decoder(list[msgspec.Raw])


class Unparsed(Sequence[Any]):
    """Entries of a list in bytes, parsed one by one when they are read."""

    def __init__(self, items: Sequence[msgspec.Raw], last: int) -> None:
        self._items = items
        self.last = last
        """The byte of the list at which the last entry begins."""

    @classmethod
    def ending(cls, items: Sequence[msgspec.Raw], length: int) -> Unparsed:
        """The last entries of a list of so many bytes, or all of them. If there is space before its
        closing bracket, `last` is wrong, and no entry begins there."""
        return cls(items, length - 1 - memoryview(items[-1]).nbytes if items else 0)

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Unparsed: ...
    def __getitem__(self, index: int | slice) -> Any:
        """One entry, parsed, or several."""
        if isinstance(index, slice):
            return Unparsed(self._items[index], self.last)
        return orjson.loads(bytes(self._items[index]))

    def __iter__(self) -> Iterator[Any]:
        """The entries, parsed."""
        return (orjson.loads(bytes(item)) for item in self._items)


class PromptBody:
    """A body as it is sent: a Messages request, or one of another API that was not translated."""

    __slots__ = ("_foreign", "_messages", "_source", "get")

    def __init__(self, request: MessagesRequest) -> None:
        original = request.original if request.deferred else None
        self._foreign = original is not None
        self._source: MessagesRequest | Original = request if original is None else original
        self.get: Callable[[str], Any] = self._source.get
        """Returns a top-level field, or None."""
        self._messages: Sequence[Any] | None = None

    @property
    def messages(self) -> Sequence[Any]:
        """The messages; in the Responses API, the input items."""
        if self._messages is None:
            self._messages = self._read(_MESSAGES)
        return self._messages

    def since(self, at: int) -> Unparsed | None:
        """The messages from a byte of their list on, without a look at those before; None if no
        message begins there."""
        raw = self._unparsed(_MESSAGES)
        view = b"" if raw is None else memoryview(raw)
        if not 0 < at < len(view):
            return None
        try:
            return Unparsed.ending(_SPLIT.decode(b"[%b" % view[at:]), len(view))
        except msgspec.DecodeError:
            return None

    @property
    def tools(self) -> Sequence[Any]:
        """The tool definitions; in Gemini's API, the functions in them."""
        tools = self._read(_TOOLS)
        return [one for tool in tools for one in _functions_in(tool)] if self._foreign else tools

    @property
    def system(self) -> Sequence[Any]:
        """The blocks of the system prompt; a text is one block."""
        return self._read(_SYSTEM)

    def fields(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Those of these top-level fields that it has."""
        source = self._source
        if isinstance(source, MessagesRequest):
            present = source.fields
            return {name: source.get(name) for name in names if name in present}
        return {name: value for name in names if (value := source.get(name)) is not None}

    @property
    def stored(self) -> bool:
        """Whether a part of the prompt is stored by the server, so that it is unknown here."""
        return self._foreign and any(self.get(name) for name in _STORED)

    def _read(self, names: tuple[str, ...]) -> Sequence[Any]:
        raw = self._unparsed(names)
        if raw is not None:
            try:
                return Unparsed.ending(_SPLIT.decode(raw), memoryview(raw).nbytes)
            except msgspec.ValidationError:
                pass  # not a list
        for name in names if self._foreign else names[:1]:
            value = self.get(name)
            if isinstance(value, list):
                return as_list(value)
            if isinstance(value, str):
                return [text_block(value)]
            if isinstance(value, Mapping):
                return as_list(as_object(value).get("parts"))
        return ()

    def _unparsed(self, names: tuple[str, ...]) -> msgspec.Raw | None:
        """The bytes of the first of these fields that it has; None if they are not at hand."""
        for name in names if self._foreign else names[:1]:
            raw = self._source.unparsed(name)
            if raw is not None:
                return raw
        return None


def _functions_in(tool: Any) -> Iterator[Any]:
    fields = as_object(tool)
    name = next((name for name in _FUNCTIONS if name in fields), None)
    if name is None:
        yield tool
        return
    yield from as_list(fields[name])
    if len(fields) > 1:
        yield {key: value for key, value in fields.items() if key != name}


def text_block(text: str) -> dict[str, str]:
    """The block that a plain text stands for: clients switch between both forms."""
    return {"type": "text", "text": text}


def blocks_in(message: Any) -> Sequence[Any]:
    """The content blocks of a message, none if it has only calls (Chat); an item without content is
    its own only block."""
    fields = as_object(message)
    content = fields.get("content", fields.get("parts"))
    if content is None and "tool_calls" in fields:
        return ()
    if isinstance(content, str):
        return (text_block(content),)
    return as_list(content) if isinstance(content, list) else (message,)


def kind_of(block: Any) -> str:
    """The type of a content block; of a part of Gemini's API, the type that it is like."""
    fields = as_object(block)
    kind = fields.get("type")
    if kind is None and fields:
        if fields.get("thought") is True:
            return "thinking"
        kind = next((like for name, like in _PARTS.items() if name in fields), None)
    return str(kind)


def text_in(block: Any) -> str:
    """The text of a block, or of the first text in a result; empty for others."""
    if isinstance(block, str):
        return block
    fields = as_object(block)
    text = fields.get("text")
    if isinstance(text, str):
        return text
    content = fields.get("content")
    if isinstance(content, str):
        return content
    return next((found for part in as_list(content) if (found := text_in(part))), "")
