"""Translates a Chat Completions request into a Messages request. Pure functions.

Fields and shapes: `types/chat/completion_create_params.py` of the `openai` SDK.
`_policy.CHAT` says how each field is treated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import as_object
from plugway_openai_api._call_signatures import blocks_of_call
from plugway_openai_api._content import Parts, plain_text
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
    wrong_value,
)
from plugway_openai_api._policy import CHAT, note_drops
from plugway_openai_api._sampling import format_of, sampling, settle, stops, thinking, who
from plugway_openai_api._tools import INPUT, call_input, chat_tools, choice_of, offered
from plugway_openai_api._turns import Turns
from plugway_translation import MediaPolicy, Notes, encode_id, safe_name


def chat_request(
    body: Mapping[str, Any], notes: Notes, *, max_tokens: int, media: MediaPolicy = "placeholder"
) -> dict[str, Any]:
    """The Messages request; `max_tokens` is the default limit. Raises `InvalidRequest`."""
    note_drops(body, CHAT, notes)
    found: dict[str, Any] = {"model": model_of(body)}
    limit = integer(body, "max_completion_tokens") or integer(body, "max_tokens")
    found["max_tokens"] = limit or max_tokens
    turns = Turns(notes)
    reader = Messages(turns, Parts(notes, media), notes)
    if body.get("messages") is None:
        raise missing("messages")
    for index, message in enumerate(objects(body, "messages", "messages")):
        reader.read(message, f"messages[{index}]")
    form = optional_object(body, "response_format", "response_format")
    config, as_json = format_of(form, "response_format", "json_schema")
    found |= turns.fields(as_json=as_json)
    parallel = boolean(body, "parallel_tool_calls")
    found |= offered(chat_tools(body, notes), choice_of(body), parallel=parallel, notes=notes)
    found |= sampling(body, notes) | stops(body, notes) | who(body)
    effort = optional_text(body, "reasoning_effort", "reasoning_effort")
    found |= thinking(effort, "reasoning_effort", config, notes)
    settle(found, "reasoning_effort", notes)
    if (top_k := integer(body, "top_k", 0)) is not None:
        found["top_k"] = top_k
    check_stream_options(body)
    if boolean(body, "stream"):
        found["stream"] = True
    return found


class Messages:
    """Reads messages by role."""

    def __init__(self, turns: Turns, parts: Parts, notes: Notes) -> None:
        self._turns = turns
        self._parts = parts
        self._notes = notes
        self._functions: dict[str, str] = {}
        """Ids given to the last `function_call`s, which carry none, by function name."""
        self._count = 0

    def read(self, message: Mapping[str, Any], path: str) -> None:
        """Read one message. Raises `InvalidRequest`."""
        role = text(message, "role", f"{path}.role")
        if message.get("name") and role != "function":
            self._notes.add("messages.name", "drop", "the Messages API has no user names")
        content = self._parts.content(message.get("content"), f"{path}.content")
        match role:
            case "system" | "developer":
                self._turns.instruct(
                    content if isinstance(content, str) else plain_text(content, f"{path}.content")
                )
            case "user":
                self._turns.user(content)
            case "assistant":
                self._assistant(message, content, path)
            case "tool":
                call_id = text(message, "tool_call_id", f"{path}.tool_call_id")
                self._turns.result(encode_id(call_id), content)
            case "function":
                name = text(message, "name", f"{path}.name")
                if name not in self._functions:
                    raise invalid(f"Invalid value for '{path}.name': no `function_call` before it.")
                self._turns.result(self._functions.pop(name), content)
            case other:
                roles = "'system', 'developer', 'assistant', 'user' and 'tool'"
                raise wrong_value(f"{path}.role", other, roles)

    def _assistant(
        self, message: Mapping[str, Any], content: str | list[dict[str, Any]], path: str
    ) -> None:
        for name in ("reasoning_content", "reasoning"):
            if message.get(name) and "extra_content" not in str(message.get("tool_calls")):
                self._notes.add(f"messages.{name}", "drop", "Chat carries no signature")
        if message.get("audio"):
            self._notes.add("messages.audio", "drop", "OpenAI stores the audio")
        calls = objects(message, "tool_calls", f"{path}.tool_calls")
        if function := optional_object(message, "function_call", f"{path}.function_call"):
            self._count += 1
            id_ = f"function_call_{self._count}"
            self._functions[text(function, "name", f"{path}.function_call.name")] = id_
            calls = [*calls, {"id": id_, "function": function}]
        refusal = optional_text(message, "refusal", f"{path}.refusal")
        if not calls and not refusal:
            self._turns.assistant(content)
            return
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        blocks = [block for block in blocks if block.get("text", "x")]
        if refusal:
            blocks.append({"type": "text", "text": refusal})
        thought = message.get("reasoning_content")
        for index, call in enumerate(calls):
            blocks += blocks_of_call(call, thought if isinstance(thought, str) else "")
            blocks.append(self._call(call, f"{path}.tool_calls[{index}]"))
        self._turns.assistant(blocks)

    def _call(self, call: Mapping[str, Any], path: str) -> dict[str, Any]:
        kind = optional_text(call, "type", f"{path}.type") or "function"
        if kind not in ("function", "custom"):
            raise wrong_value(f"{path}.type", kind, "'function' and 'custom'")
        function = as_object(call.get(kind))
        name = text(function, "name", f"{path}.{kind}.name")
        if kind == "custom":
            arguments = {INPUT: optional_text(function, "input", f"{path}.custom.input")}
        else:
            arguments = call_input(function, f"{path}.function.arguments", self._notes)
        id_ = encode_id(text(call, "id", f"{path}.id"))
        return {"type": "tool_use", "id": id_, "name": safe_name(name), "input": arguments}
