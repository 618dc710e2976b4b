"""Translates requests of clients other than Claude Code to the tools that the demo model knows.

The model was trained on `Write`, `Bash` and `Read`. If a client has an equivalent tool, the model
sees it under that name, and the client receives the call under its own. `_guard` decides which
calls are allowed, by the names that the model knows.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object

_PATHS: Final = ("file_path", "path", "filePath", "absolute_path", "target_file")
_SHELLS: Final = (
    *("bash", "shell", "terminal", "exec_command", "execute_command"),
    *("run_command", "run_shell_command", "run_terminal_cmd"),
)
_KNOWN: Final[Mapping[str, tuple[tuple[str, ...], Mapping[str, tuple[str, ...]]]]] = {
    "Write": (
        ("write", "write_file", "create_file"),
        {"file_path": _PATHS, "content": ("content", "contents", "file_text", "text")},
    ),
    "Bash": (_SHELLS, {"command": ("command", "cmd"), "description": ("description",)}),
    "Read": (("read", "read_file", "view_file"), {"file_path": _PATHS}),
}
"""The other names of each tool of the model, and of its arguments."""
_OPTIONAL: Final = frozenset(("description",))
_WHY: Final = "To follow the request"
_CREATE: Final = re.compile(r"set -C; printf %s (.+) > (\S+)", re.DOTALL)
"""Creates a file with a shell; an existing file is not overwritten."""
_SHOW: Final = re.compile(r"cat (\S+)")
_RAN: Final = re.compile(r"(?:.*\n)?Process exited with code 0\n(?:.*\n)?Output:\n(.*)", re.DOTALL)
"""The text of Codex around the output of a command."""
_NO_OUTPUT: Final = "(Bash completed with no output)"
_FOLDERS: Final = re.compile(
    r"(?:[Ww]orking directory: *|working in the directory: *|<cwd>)(/[^\n<]*[^\n</\s])"
)
"""How opencode, Qwen Code and others name the working folder."""
_QUOTED: Final = re.compile(r'\s*"([^"]*)"\s*')
"""A prompt in quotes, as opencode sends the one on its command line."""
_CONTEXT: Final = re.compile(r"\s*<(\w+_context)>.*</\1>\s*", re.DOTALL)
"""A description of the machine, which Codex and Gemini CLI send as a user message."""


@dataclass(frozen=True, slots=True)
class _Tool:
    """A tool of the client that is equivalent to one of the model's."""

    name: str
    arguments: Mapping[str, str]
    """The client's argument names, by the model's."""
    absolute: bool = False
    """Whether it requires an absolute path."""


class ClientNames:
    """The tool names of one request, in both directions."""

    def __init__(self, request: MessagesRequest) -> None:
        offered = [as_object(tool) for tool in as_list(request.body.get("tools"))]
        taken = {str(tool.get("name")) for tool in offered}
        self._tools = {
            ours: found
            for ours in _KNOWN
            if ours not in taken and (found := _equal(ours, offered)) is not None
        }
        shell = self._tools.get("Bash")
        self._by_shell = {
            ours for ours in ("Write", "Read") if shell and ours not in taken | self._tools.keys()
        }
        """Tools of the model that a shell replaces, because the client has no equivalent."""
        sources = [request.body.get("system"), *as_list(request.body.get("messages"))]
        folders = set(_FOLDERS.findall("\n".join(_texts(sources)))) if self._tools else set[str]()
        self._folder = f"{folders.pop()}/" if len(folders) == 1 else ""
        self.request = self._put(request, offered)
        """The request with the model's names."""

    def back(self, name: str, arguments: str) -> tuple[str, str]:
        """A call of the model, translated to the client's tools."""
        given = as_object(json.loads(arguments or "{}")) if self._knows(name) else {}
        if name in self._by_shell:
            path = shlex.quote(str(given.get("file_path")))
            command = f"cat {path}"
            if name == "Write":
                command = f"set -C; printf %s {shlex.quote(str(given.get('content')))} > {path}"
            name, given = "Bash", {"command": command}
        tool = self._tools.get(name)
        if tool is None:
            return name, arguments
        if "description" in tool.arguments:
            given.setdefault("description", _WHY)
        path = str(given.get("file_path", "/"))
        if tool.absolute and not path.startswith("/"):
            given["file_path"] = self._folder + path
        named = {tool.arguments[key]: given[key] for key in given if key in tool.arguments}
        return tool.name, json.dumps(named, ensure_ascii=False)

    def _knows(self, name: str) -> bool:
        return name in self._tools or name in self._by_shell

    def _put(self, request: MessagesRequest, offered: list[dict[str, Any]]) -> MessagesRequest:
        changes: dict[str, Any] = {}
        messages = as_list(request.body.get("messages"))
        translated = [self._message(as_object(message)) for message in messages]
        if translated != messages:
            changes["messages"] = translated
        if self._tools:
            theirs = {tool.name for tool in self._tools.values()}
            ours = [_shown(name) for name in _KNOWN if self._knows(name)]
            changes["tools"] = [*ours, *(t for t in offered if t.get("name") not in theirs)]
        choice = as_object(request.body.get("tool_choice"))
        for name, tool in self._tools.items():
            if choice.get("name") == tool.name:
                changes["tool_choice"] = {**choice, "name": name}
        because = "the demonstration model knows a few tools by their names"
        return request.replace(because=because, **changes) if changes else request

    def _message(self, message: dict[str, Any]) -> dict[str, Any]:
        content, user = message.get("content"), message.get("role") == "user"
        if isinstance(content, str):
            return {**message, "content": self._words(content)} if user else message
        if not isinstance(content, list):
            return message
        return {**message, "content": [self._block(item, user=user) for item in as_list(content)]}

    def _block(self, item: Any, *, user: bool) -> Any:
        if not isinstance(item, dict):
            return item
        block = as_object(item)
        text = block.get("text")
        if user and block.get("type") == "text" and isinstance(text, str):
            return {**block, "text": self._words(text)}
        if block.get("type") == "tool_result" and self._by_shell:
            return {**block, "content": _output(block.get("content"))}
        if block.get("type") != "tool_use":
            return block
        name, given = str(block.get("name")), as_object(block.get("input"))
        for ours, tool in self._tools.items():
            if tool.name == name:
                known = {theirs: key for key, theirs in tool.arguments.items()}
                input_ = {known.get(key, key): value for key, value in given.items()}
                if tool.absolute:
                    input_["file_path"] = str(input_.get("file_path")).removeprefix(self._folder)
                ours, input_ = self._from_shell(ours, input_)
                return {**block, "name": ours, "input": input_}
        return block

    def _words(self, text: str) -> str:
        """A user's text; the client's description of the machine becomes a reminder."""
        if _CONTEXT.fullmatch(text):
            return f"<system-reminder>{text}</system-reminder>"
        found = _QUOTED.fullmatch(text) if self._tools else None
        return found[1] if found else text

    def _from_shell(self, name: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Convert a command that replaced a call of the model back to that call."""
        command = given.get("command")
        if name != "Bash" or not self._by_shell or not isinstance(command, str):
            return name, given
        if found := _SHOW.fullmatch(command):
            return "Read", {"file_path": found[1]}
        if found := _CREATE.fullmatch(command):
            try:
                return "Write", {"file_path": found[2], "content": shlex.split(found[1])[0]}
            except (ValueError, IndexError):
                return name, given
        return name, given


def _equal(ours: str, offered: list[dict[str, Any]]) -> _Tool | None:
    """The equivalent tool of the client, if it requires no other argument."""
    names, known = _KNOWN[ours]
    for tool in offered:
        schema = as_object(tool.get("input_schema"))
        properties = as_object(schema.get("properties"))
        arguments = {
            key: found
            for key, theirs in known.items()
            if (found := next((name for name in theirs if _takes(properties, name)), None))
        }
        enough = arguments.keys() >= known.keys() - _OPTIONAL
        required = {str(name) for name in as_list(schema.get("required"))}
        if str(tool.get("name")) in names and enough and required <= set(arguments.values()):
            path = as_object(properties.get(arguments.get("file_path", "")))
            absolute = "absolute" in str(path.get("description"))
            return _Tool(str(tool["name"]), arguments, absolute)
    return None


def _takes(properties: Mapping[str, Any], name: str) -> bool:
    return as_object(properties.get(name)).get("type") in ("string", "STRING")


def _shown(name: str) -> dict[str, Any]:
    """The definition of a tool that the model knows."""
    arguments = list(_KNOWN[name][1])
    properties = {argument: {"type": "string"} for argument in arguments}
    required = [argument for argument in arguments if argument not in _OPTIONAL]
    schema = {"type": "object", "properties": properties, "required": required}
    what = {"Write": "Writes a file.", "Bash": "Runs a command.", "Read": "Reads a file."}
    return {"name": name, "description": what[name], "input_schema": schema}


def _texts(value: Any) -> Iterator[str]:
    """All texts in messages or blocks."""
    if isinstance(value, str):
        yield value
    for item in as_list(value):
        yield from _texts(item)
    for name in ("content", "text"):
        if isinstance(value, dict):
            yield from _texts(as_object(value).get(name))


def _output(content: Any) -> Any:
    """The output of a command without the text around it."""
    texts = [as_object(block).get("text") for block in as_list(content)]
    text = content if isinstance(content, str) else texts[0] if len(texts) == 1 else None
    found = _RAN.fullmatch(text) if isinstance(text, str) else None
    return content if found is None else found[1] or _NO_OUTPUT
