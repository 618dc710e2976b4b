"""Find out which features a chat template supports, by rendering test conversations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

Chat = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TemplateTraits:
    """Features of a chat template. `build_conversation` writes unsupported content as text."""

    system: bool = True
    """Whether it accepts a system message at the start."""
    system_inside: bool = False
    """Whether it keeps system messages between others in their place."""
    repeated_roles: bool = False
    """Whether it accepts two user messages in a row."""
    tools: bool = False
    """Whether it renders a list of tools."""
    tool_calls: bool = False
    """Whether it renders `tool_calls` in assistant messages."""
    tool_role: bool = False
    """Whether it renders messages with the role `tool`."""
    parallel_calls: bool = False
    """Whether it renders more than one call in an assistant message."""
    text_beside_calls: bool = False
    """Whether it renders content in an assistant message with calls."""
    text_arguments: bool = False
    """Whether arguments of calls must be JSON text instead of objects."""
    list_content: bool = False
    """Whether it accepts content as a list of parts."""
    reasoning: str = ""
    """The field of assistant messages that reasoning is sent back in; empty if there is none."""
    reasoning_beside_text: bool = True
    """Whether it also renders reasoning in a message with text and calls."""
    null_content: bool = False
    """Whether an assistant message that only has calls needs the content `None`, not empty text."""


class Attempt(Protocol):
    """Renders a conversation; returns None if the template fails."""

    def __call__(
        self,
        messages: Chat,
        tools: Any = (),
        *,
        add_generation_prompt: bool = True,
    ) -> str | None:
        """The prompt, or None."""
        ...


_TOOL: Final[dict[str, Any]] = {
    "type": "function",
    "function": {
        "name": "probe_tool",
        "description": "probe_description",
        "parameters": {
            "type": "object",
            "properties": {"probe_key": {"type": "string", "description": "probe"}},
            "required": ["probe_key"],
        },
    },
}


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def _call(name: str, arguments: Any, call_id: str = "probecall") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _assistant(content: str, *calls: dict[str, Any], **more: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content, **more}
    return {**message, "tool_calls": list(calls)} if calls else message


def _result(text: str, call_id: str = "probecall") -> dict[str, Any]:
    return {"role": "tool", "content": text, "tool_call_id": call_id, "name": "probe_tool"}


def probe(attempt: Attempt) -> TemplateTraits:
    """The traits of the template that `attempt` renders."""

    shows = _Shows(attempt)
    ask = _user("ask_one")
    arguments: Any = {"probe_key": "probe_value"}
    calls = shows(("probe_value",), [ask, _assistant("", _call("probe_tool", arguments))])
    text_arguments = False
    if not calls:
        arguments = '{"probe_key": "probe_value"}'
        calls = shows(("probe_value",), [ask, _assistant("", _call("probe_tool", arguments))])
        text_arguments = calls
    call = _call("probe_tool", arguments)
    said = [ask, _assistant("say_one", call), _result("result_one")]
    reasoning = _reasoning(shows, call if calls else None)
    thought = {**said[1], reasoning or "reasoning": "think_one"}
    return TemplateTraits(
        system=shows(("sys_one", "ask_one"), [_system("sys_one"), ask]),
        system_inside=_system_inside(shows),
        repeated_roles=shows(("ask_one", "ask_two"), [ask, _user("ask_two")]),
        tools=shows(("probe_tool",), [ask]),
        tool_calls=calls,
        tool_role=calls and shows(("result_one",), [ask, _assistant("", call), said[2]]),
        parallel_calls=calls and _parallel(shows, arguments),
        text_beside_calls=calls and shows(("say_one",), said),
        text_arguments=text_arguments,
        list_content=_list_content(attempt),
        null_content=calls and _null_content(attempt, call),
        reasoning=reasoning,
        reasoning_beside_text=calls and shows((), [ask, thought, said[2]]),
    )


class _Shows:
    """Whether a chat renders with those words in that order."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def __call__(self, words: tuple[str, ...], messages: Chat) -> bool:
        # Roles and calls can only be tested with tools, and must also work without them.
        text = self._attempt(messages, [_TOOL])
        if text is None:
            return False
        places = [text.find(word) for word in words]
        return -1 not in places and places == sorted(places)


def _system_inside(shows: _Shows) -> bool:
    said = [_user("ask_one"), _assistant("say_one"), _system("sys_two"), _user("ask_two")]
    words = ("sys_one", "ask_one", "say_one", "sys_two", "ask_two")
    return shows(words, [_system("sys_one"), *said])


def _parallel(shows: _Shows, arguments: Any) -> bool:
    second: Any = {"probe_key": "second_value"}
    if isinstance(arguments, str):
        second = arguments.replace("probe_value", "second_value")
    calls = [_call("probe_tool", arguments, "probecal1"), _call("probe_tool", second, "probecal2")]
    results = [_result("result_one", "probecal1"), _result("result_two", "probecal2")]
    chat = [_user("ask_one"), _assistant("", *calls), *results]
    return shows(("probe_value", "second_value", "result_one", "result_two"), chat)


def _null_content(attempt: Attempt, call: dict[str, Any]) -> bool:
    message = {**_assistant("", call), "content": None}
    text = attempt([_user("ask_one"), message, _result("result_one")], [_TOOL])
    return text is not None and "None" not in text and "null" not in text


def _list_content(attempt: Attempt) -> bool:
    chat = [{"role": "user", "content": [{"type": "text", "text": "ask_list"}]}]
    text = attempt(chat)
    return text is not None and "ask_list" in text and "'type'" not in text and '"type"' not in text


def _reasoning(shows: _Shows, call: dict[str, Any] | None) -> str:
    ask = _user("ask_one")
    for name in ("reasoning_content", "thinking", "reasoning"):
        chats = [[ask, _assistant("say_one", **{name: "think_one"})]]
        if call is not None:
            calling = {**_assistant("", call), name: "think_one"}
            chats.append([ask, calling, _result("result_one")])
        if any(shows(("think_one",), chat) for chat in chats):
            return name
    return ""
