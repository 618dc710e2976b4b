"""Translates a Responses request into a Messages request. Pure functions.

Fields and shapes: `types/responses/response_create_params.py` and `response_input_item_param.py` of
the `openai` SDK. `_policy.RESPONSES` says how each field is treated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from plugway import InvalidRequest, as_list, as_object
from plugway_openai_api._client_tools import (
    CALLS,
    OUTPUTS,
    hosted_ids,
    input_of,
    is_hosted,
    output_text,
)
from plugway_openai_api._content import Parts, plain_text
from plugway_openai_api._envelope import opened
from plugway_openai_api._fields import (
    boolean,
    check_stream_options,
    integer,
    invalid,
    missing,
    model_of,
    objects,
    optional_object,
    optional_text,
    text,
    wrong_type,
    wrong_value,
)
from plugway_openai_api._hosted import describe_hosted
from plugway_openai_api._item_store import is_reference
from plugway_openai_api._policy import RESPONSES, note_drops
from plugway_openai_api._sampling import format_of, sampling, settle, thinking, who
from plugway_openai_api._tools import (
    INPUT,
    Key,
    call_input,
    choice_of,
    joined,
    offered,
    renamed,
    response_tools,
)
from plugway_openai_api._turns import Turns
from plugway_translation import MediaPolicy, Notes, encode_id, type_name

_REASONING: Final = "reasoning.encrypted_content"


def responses_request(
    body: Mapping[str, Any], notes: Notes, *, max_tokens: int, media: MediaPolicy = "placeholder"
) -> dict[str, Any]:
    """The Messages request; `max_tokens` is the default limit. Raises `InvalidRequest`."""
    note_drops(body, RESPONSES, notes)
    found: dict[str, Any] = {"model": model_of(body)}
    found["max_tokens"] = integer(body, "max_output_tokens") or max_tokens
    turns = Turns(notes)
    turns.instruct(optional_text(body, "instructions", "instructions"))
    of_tools = Notes()
    tools = response_tools(body, of_tools)
    names = renamed(tools)
    _conversation(body, turns, Parts(notes, media), notes, names)
    text_options = optional_object(body, "text", "text")
    if text_options.get("verbosity") not in (None, "medium"):
        notes.add("text.verbosity", "drop", "the Messages API has none")
    form = optional_object(text_options, "format", "text.format")
    config, as_json = format_of(form, "text.format")
    found |= turns.fields(as_json=as_json)
    parallel = boolean(body, "parallel_tool_calls")
    notes.include(of_tools)
    found |= offered(tools, choice_of(body, names), parallel=parallel, notes=notes)
    found |= sampling(body, notes) | who(body) | _thought(body, config, notes)
    settle(found, "reasoning", notes)
    for wanted in as_list(body.get("include")):
        if wanted != _REASONING:
            notes.add("include", "drop", "the other values are not supported")
    check_stream_options(body)
    if boolean(body, "stream"):
        found["stream"] = True
    return found


def _thought(body: Mapping[str, Any], config: Mapping[str, Any], notes: Notes) -> dict[str, Any]:
    wanted = optional_object(body, "reasoning", "reasoning")
    effort = optional_text(wanted, "effort", "reasoning.effort")
    shown = bool(wanted.get("summary") or wanted.get("generate_summary")) and effort != "none"
    for name in ("context", "mode"):
        if wanted.get(name) not in {None, "auto", "standard"}:
            notes.add(f"reasoning.{name}", "drop", "the Messages API has none")
    return thinking(effort, "reasoning.effort", config, notes, shown=shown)


def _conversation(
    body: Mapping[str, Any], turns: Turns, parts: Parts, notes: Notes, names: Mapping[Key, str]
) -> None:
    value = body.get("input")
    if value is None:
        if not turns.system:
            raise missing("input")
    elif isinstance(value, str):
        turns.user(value)
    elif isinstance(value, list):
        items = objects(body, "input", "input")
        reader = Items(turns, parts, notes, hosted_ids(items), names)
        for index, item in enumerate(items):
            reader.read(item, f"input[{index}]")
    else:
        raise wrong_type("input", "a string or an array of items", value)


def _not_kept(item: Mapping[str, Any], path: str) -> InvalidRequest:
    return invalid(
        f"Item with id '{str(item.get('id'))[:80]}' not found: '{path}' is an `item_reference`, "
        "and only items of recent replies are kept, in memory. Send the item itself: "
        "clients do with `store: false` (AI SDK: `providerOptions: {openai: {store: false}}`)."
    )


def _found(item: Mapping[str, Any], renamed: Mapping[Key, str]) -> str:
    """Names of the tools that a search found; they are offered from then on."""
    tools = response_tools({"input": [item]}, Notes())
    names = [renamed.get(tool.key, tool.name) for tool in tools]
    return f"Found: {', '.join(names)}" if names else "Found nothing."


class Items:
    """Reads input items by type. Output between two user turns becomes one assistant turn."""

    def __init__(
        self,
        turns: Turns,
        parts: Parts,
        notes: Notes,
        hosted: frozenset[str],
        names: Mapping[Key, str],
    ) -> None:
        """`hosted` are ids of calls that OpenAI ran (`hosted_ids`); `names` is from `renamed`."""
        self._names = names
        self._turns = turns
        self._parts = parts
        self._notes = notes
        self._hosted = hosted
        self._readers: Mapping[str, Callable[[Mapping[str, Any], str], None]] = {
            "message": self._message,
            "function_call": self._call,
            "custom_tool_call": self._call,
            "function_call_output": self._output,
            "custom_tool_call_output": self._output,
            "reasoning": self._reasoning,
            "additional_tools": self._offered,
            **dict.fromkeys(CALLS, self._typed_call),
            **dict.fromkeys(OUTPUTS, self._typed_output),
        }
        self._call_ids: dict[str, str] = {}
        """`call_id` of `local_shell` calls by item id, to which an output may refer."""

    def read(self, item: Mapping[str, Any], path: str) -> None:
        """Read one item. Raises `InvalidRequest`."""
        kind = optional_text(item, "type", f"{path}.type")
        if not kind and "role" in item:
            kind = "message"
        if is_reference(item):
            raise _not_kept(item, path)
        if not kind:
            raise missing(f"{path}.type")
        reader = self._readers.get(kind)
        typed = kind in CALLS or kind in OUTPUTS
        if reader is None or (typed and is_hosted(item, self._hosted)):
            reader = self._hosted_item
        reader(item, path)

    def _message(self, item: Mapping[str, Any], path: str) -> None:
        content = self._parts.content(item.get("content"), f"{path}.content")
        match text(item, "role", f"{path}.role"):
            case "user":
                self._turns.user(content)
            case "assistant":
                self._turns.assistant(content, join=True)
            case "system" | "developer":
                self._turns.instruct(
                    content if isinstance(content, str) else plain_text(content, f"{path}.content")
                )
            case other:
                roles = "'user', 'assistant', 'system' and 'developer'"
                raise wrong_value(f"{path}.role", other, roles)

    def _call(self, item: Mapping[str, Any], path: str) -> None:
        name = text(item, "name", f"{path}.name")
        namespace = optional_text(item, "namespace", f"{path}.namespace")
        name = self._names.get((namespace, name)) or joined(namespace, name)
        if item.get("type") == "custom_tool_call":
            arguments = {INPUT: optional_text(item, "input", f"{path}.input")}
        else:
            arguments = call_input(item, f"{path}.arguments", self._notes)
        id_ = encode_id(text(item, "call_id", f"{path}.call_id"))
        block = {"type": "tool_use", "id": id_, "name": name, "input": arguments}
        self._turns.assistant([block], join=True)

    def _output(self, item: Mapping[str, Any], path: str) -> None:
        id_ = encode_id(text(item, "call_id", f"{path}.call_id"))
        self._turns.result(id_, self._parts.content(item.get("output"), f"{path}.output"))

    def _typed_call(self, item: Mapping[str, Any], path: str) -> None:
        call_id = text(item, "call_id", f"{path}.call_id")
        self._call_ids[str(item.get("id"))] = call_id
        given = input_of(item)
        if not isinstance(given, dict):
            written = given if isinstance(given, str) else orjson.dumps(given).decode()
            given = call_input({"arguments": written}, path, self._notes)
        block = {"type": "tool_use", "id": encode_id(call_id), "name": CALLS[str(item["type"])]}
        self._turns.assistant([{**block, "input": given}], join=True)

    def _typed_output(self, item: Mapping[str, Any], path: str) -> None:
        named = "call_id" if item.get("call_id") is not None else "id"
        id_ = text(item, named, f"{path}.call_id")
        is_search = item["type"] == "tool_search_output"
        output = _found(item, self._names) if is_search else output_text(item)
        self._turns.result(encode_id(self._call_ids.get(id_, id_)), output)

    def _hosted_item(self, item: Mapping[str, Any], path: str) -> None:
        """Add an item of OpenAI's hosted tools as text."""
        kind = type_name(item["type"])
        described = describe_hosted(item)
        if described is None:
            self._notes.add(f"input.{kind}", "drop", "only OpenAI can read it")
            return
        self._notes.add(f"input.{kind}", "translate", "written as text: OpenAI ran it")
        text = described.text
        if item["type"] == "tool_search_output":
            text = f"[tool_search_output]\n{_found(item, self._names)}"
        blocks: list[dict[str, Any]] = [{"type": "text", "text": text}]
        shown = [self._parts.block(image, path) for image in described.images]
        images = [block for block in shown if block is not None]
        if described.by_user:
            self._turns.user([*blocks, *images])
            return
        self._turns.assistant(blocks, join=True)
        if images:  # most APIs allow no images in an assistant turn
            self._turns.user([{"type": "text", "text": f"[made by that {kind}]"}, *images])

    def _offered(self, item: Mapping[str, Any], path: str) -> None:
        """Skip an item that adds tools: `response_tools` has read them."""

    def _reasoning(self, item: Mapping[str, Any], path: str) -> None:
        del path
        block = opened(item.get("encrypted_content"))
        if block is None:
            self._notes.add("input.reasoning", "drop", "it was not created here and cannot be read")
        else:
            self._turns.assistant([as_object(block)], join=True)
