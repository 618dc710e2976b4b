"""What the demonstration model may call, whatever its template and its weights say.

Of tools that run commands, write or name files, three shapes pass: create a file with `Write`,
append a line with `Bash`, show a file with `Read`; each inside of the working folder. Everything is
decided from the request and the call, by name and by schema; nothing here looks at the disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

REFUSAL: Final = (
    "I only know how to create a file (create hello.txt with the text hi), append a line (now "
    "append a line), show a file (show me hello.txt) and say what Plugway is (what is plugway); "
    "for anything else connect a real model, for example with `plugway models pull`."
)
"""What is said in the place of a call that fits no shape."""

_NAMES: Final = re.compile(
    "agent|append|apply|bash|build|chmod|cmd|code|command|commands|commit|console|copy|"
    "create|cron|delete|deploy|edit|erase|eval|exec|execute|file|files|fs|git|insert|kill|"
    "launch|make|mkdir|modify|monitor|move|multiedit|node|notebook|notebookedit|npm|"
    "overwrite|patch|pip|powershell|process|publish|push|put|pwsh|python|remove|rename|repl|"
    "replace|rm|run|save|script|send|sh|shell|skill|spawn|sql|ssh|start|subagent|subprocess|"
    "sudo|task|terminal|touch|truncate|undo|unlink|upload|wakeup|workflow|worktree|write|zsh"
)
_RUNS: Final = re.compile(
    "args|argv|bash|cmd|code|command|commandline|commands|exec|executable|patch|program|"
    "script|scriptpath|shell|sql"
)
_PATHS: Final = re.compile(
    "cwd|destination|dir|directory|file|filename|filepath|filepaths|files|folder|"
    "notebookpath|path|paths|source|sourcepath|target|targetfile|targetpath|uri|workdir|"
    "workingdirectory"
)
_WRITES: Final = re.compile(
    "content|contents|data|diff|edits|filetext|inserttext|newsource|newstr|newstring|newtext|"
    "oldstr|oldstring|oldtext|replacement"
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PART: Final = r"[\w+@][\w.+@-]*(?<!\.)"
_PLAIN: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_APPEND: Final = re.compile(
    r"""printf '\\n%s' (?:'[^'\x00-\x1f\x7f]{1,300}'|"[^"$`\\!\x00-\x1f\x7f]{1,300}") >> (\S+)"""
)
_FOLDER: Final = re.compile(r"(?:^|\n)[\s-]*(?:Primary w|W)orking directory: *([^\n]+)")
_HOME: Final = re.compile(
    r"/|/root|/(?:home|Users)(?:/[^/]+)?|(?:[A-Za-z]:)?[\\/]?(?:Users[\\/][^\\/]+)?"
)
_DEEP: Final = 40
"""Levels of a schema or of arguments; what lies deeper counts as a command."""
_LONG: Final = 1000
"""Characters from which a user's text is more than an order: a summary, a file that was pasted."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What of a request the verdicts need."""

    tools: Mapping[str, frozenset[str]]
    """The names of all properties of each tool, in small letters without separators."""
    folder: str
    """The working folder; empty where it is not known, or a home."""
    shown: str
    """All that may name files which exist: results, calls, reminders; in small letters."""
    asked: str
    """All that the user said, in small letters."""


def read_conversation(body: Mapping[str, Any]) -> Conversation:
    """The conversation of a Messages request."""
    tools = {
        str(tool.get("name", "")): frozenset(_properties(tool.get("input_schema"), 0))
        for tool in map(_object, _list(body.get("tools")))
    }
    messages = [_object(message) for message in _list(body.get("messages"))]
    systems = [
        body.get("system"),
        *(m.get("content") for m in messages if m.get("role") == "system"),
    ]
    said = [text for content in systems for text in _texts(content)]
    folders = {found.strip() for text in said for found in _FOLDER.findall(text)}
    folder = folders.pop().rstrip("/\\") if len(folders) == 1 else ""
    shown = "\n".join(_shown(messages)).lower()
    users = (m.get("content") for m in messages if m.get("role") == "user")
    asked = "\n".join(text for content in users for text in _texts(content)).lower()
    return Conversation(tools, "" if _HOME.fullmatch(folder) else folder, shown, asked)


def is_held(name: str, properties: Iterable[str]) -> bool:
    """Whether a tool runs commands, or writes or names files: by its name, or by its schema."""
    found = tuple(properties)
    words = [name, *_WORD.findall(name)]
    return any(_NAMES.fullmatch(word.lower()) for word in words) or any(
        kind.fullmatch(word) for kind in (_RUNS, _PATHS, _WRITES) for word in found
    )


def reason_against(conversation: Conversation, name: str, arguments: str) -> str:
    """Why a complete call may not be made; empty where it may."""
    try:
        given: Any = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        given = None
    if name not in conversation.tools:
        return "the client does not offer it"
    if not isinstance(given, dict):
        return "its arguments are no object"
    call = cast(dict[str, Any], given)
    properties = {*conversation.tools[name], *_keys(call)}
    if not is_held(name, properties):
        return ""
    match name:
        case "Write":
            return _against_write(conversation, call)
        case "Bash":
            return _against_append(conversation, call)
        case "Read":
            return _against_show(conversation, call)
        case _:
            return "it is none of `Write`, `Bash` and `Read`"


def _against_write(conversation: Conversation, call: dict[str, Any]) -> str:
    path = call.get("file_path")
    if set(call) != {"file_path", "content"} or not isinstance(call["content"], str):
        return "it is more than a path and a text"
    inside = _inside(path, conversation.folder)
    if not inside:
        return "its path is not plainly inside of the working folder"
    # The name alone: the same file may have been shown by its absolute path.
    if _names(conversation.shown, inside):
        return "the conversation has shown that file, or one of that name, before"
    return _against_a_slip(conversation, inside)


def _against_append(conversation: Conversation, call: dict[str, Any]) -> str:
    command, rest = call.get("command"), set(call) - {"command", "description", "timeout"}
    found = _APPEND.fullmatch(command) if isinstance(command, str) else None
    if found is None or rest:
        return "its command is more than appending one line"
    # The shell reads the whole of it, the folder too.
    plain = _PLAIN.fullmatch(found[1].removeprefix("/"))
    inside = _inside(found[1], conversation.folder) if plain else ""
    if not inside:
        return "its path is not plainly inside of the working folder"
    return _against_a_slip(conversation, inside)


def _against_show(conversation: Conversation, call: dict[str, Any]) -> str:
    if set(call) - {"file_path", "offset", "limit"}:
        return "it is more than showing one file"
    inside = _inside(call.get("file_path"), conversation.folder)
    if not inside:
        return "its path is not plainly inside of the working folder"
    return _against_a_slip(conversation, inside)


def _against_a_slip(conversation: Conversation, inside: str) -> str:
    """A small model copies names with slips: what nobody has named is not what was asked for."""
    if _names(conversation.asked, inside) or _names(conversation.shown, inside):
        return ""
    return "nobody has named that file"


def _names(text: str, path: str) -> bool:
    """Whether `text`, in small letters, has the last name of `path` as a word of its own."""
    last = re.escape(path.rsplit("/", 1)[-1].lower())
    return re.search(rf"(?<![\w.+@-]){last}(?![\w+@-]|\.\w)", text) is not None


def _inside(path: Any, folder: str) -> str:
    """The path below the folder; empty where it is not plainly there."""
    if not isinstance(path, str) or len(path) > 255:
        return ""
    if "\\" in folder:
        path, folder = path.replace("\\", "/"), folder.replace("\\", "/")
    if folder and path.startswith(folder + "/"):
        path = path[len(folder) + 1 :]
    elif not folder and "/" in path:
        return ""
    return path if _PLAIN.fullmatch(path) else ""


def _properties(schema: Any, depth: int) -> Iterator[str]:
    """The names of all properties of a schema or of arguments, also of the inner ones."""
    if depth > _DEEP:
        yield "command"
        return
    for item in _list(schema):
        yield from _properties(item, depth + 1)
    for key, value in _object(schema).items():
        if key == "properties":
            yield from (_bare(name) for name in _object(value))
        yield from _properties(value, depth + 1)


def _keys(value: Any, depth: int = 0) -> Iterator[str]:
    """All keys of arguments, also of the inner ones."""
    if depth > _DEEP:
        yield "command"
        return
    for item in _list(value):
        yield from _keys(item, depth + 1)
    for key, inner in _object(value).items():
        yield _bare(key)
        yield from _keys(inner, depth + 1)


def _bare(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _shown(messages: list[dict[str, Any]]) -> Iterator[str]:
    """The texts that may name files which exist: all but orders and the client's description of
    the machine."""
    missing: set[Any] = set()
    blocks = [(m.get("role"), block) for m in messages for block in _blocks(m.get("content"))]
    reads = {
        b.get("id") for _, b in blocks if b.get("type") == "tool_use" and b.get("name") == "Read"
    }
    for _, block in blocks:
        if block.get("type") == "tool_result" and block.get("is_error") is True:
            missing |= {block.get("tool_use_id")} & reads
    for role, block in blocks:
        kind, text = block.get("type"), str(block.get("text", ""))
        order = role == "user" and len(text) < _LONG and not text.lstrip().startswith("<")
        if kind == "tool_use" and block.get("id") not in missing:
            yield json.dumps(block.get("input"), ensure_ascii=False, default=str)
        elif kind == "tool_result" and block.get("tool_use_id") not in missing:
            yield from _texts(block.get("content"))
        elif kind == "text" and role != "assistant" and not order and not _FOLDER.search(text):
            yield text


def _texts(value: Any) -> Iterator[str]:
    for block in _blocks(value):
        inner = block.get("text")
        if isinstance(inner, str):
            yield inner


def _blocks(value: Any) -> list[dict[str, Any]]:
    """Content as blocks; a text is one."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    found: list[dict[str, Any]] = []
    for item in _list(value):
        found += _blocks(item) if isinstance(item, str) else [_object(item)]
    return found


def _list(value: Any) -> list[Any]:
    return cast(list[Any], value) if isinstance(value, list) else []


def _object(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
