"""The calls that the demo model may make, whatever its template and its weights produce.

Three forms are allowed: create a file with `Write`, append a line with `Bash`, show a file with
`Read`; each inside the working folder, and for a file that the user named. So are calls of a few
tools that examples use. All others are refused. Nothing is looked up on a disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from plugway import as_list, as_object
from plugway_local_engine._demo_mentions import may_name, names

REFUSAL: Final = (
    "I only know how to create a file (create hello.txt with the text hi), append a line (now "
    "append a line), show a file (show me hello.txt) and say what Plugway is (what is plugway); "
    "for anything else connect a real model, for example with `plugway models pull`."
)
"""Reply instead of a call without an allowed form."""

ORDERS: Final = frozenset(("Write", "Bash", "Read"))
"""The tools of the three forms."""
_EXAMPLES: Final = frozenset(("weather", "get_weather", "get_current_weather", "note_city"))
"""Tools in SDK documentation and in the plugin `probe`: they only look something up."""
_ASKS: Final = frozenset(("city", "location", "place", "unit"))
_PART: Final = r"[\w+@][\w.+@-]*(?<!\.)"
_PLAIN: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_APPEND: Final = re.compile(
    r"""printf '\\n%s' (?:'[^'\x00-\x1f\x7f]{1,300}'|"[^"$`\\!\x00-\x1f\x7f]{1,300}") >> (\S+)"""
)
_FOLDER: Final = re.compile(r"(?:^|\n)[\s-]*(?:Primary w|W)orking directory: *([^\n]+)")
_HOME: Final = re.compile(
    r"/|/root|/(?:home|Users)(?:/[^/]+)?|(?:[A-Za-z]:)?[\\/]?(?:Users[\\/][^\\/]+)?"
)
_MISSING: Final = re.compile(
    r"(?:<tool_use_error>)?\s*(?:error:\s*)?(?:file does not exist\b|(?:enoent: )?no such file\b)"
)
"""Start of a result, in lower case, that reports a missing file."""
_DENIED: Final = re.compile("permi|deni|allow|refus|reject|access")
_LONG: Final = 1000
"""Characters above which a user's text is not an order: a summary, or a pasted file."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The part of a request that the verdicts need."""

    tools: frozenset[str]
    """The names of all tools that the client offers."""
    folder: str
    """The working folder; empty if it is unknown, or a home."""
    shown: str
    """All texts that may name existing files: results, calls, reminders."""
    asked: str
    """All text by the user."""


def read_conversation(body: Mapping[str, Any]) -> Conversation:
    """The conversation of a Messages request."""
    tools = frozenset(str(as_object(tool).get("name", "")) for tool in as_list(body.get("tools")))
    messages = [as_object(message) for message in as_list(body.get("messages"))]
    systems = [
        body.get("system"),
        *(m.get("content") for m in messages if m.get("role") == "system"),
    ]
    said = [text for content in systems for text in _texts(content)]
    folders = {found.strip() for text in said for found in _FOLDER.findall(text)}
    folder = folders.pop().rstrip("/\\") if len(folders) == 1 else ""
    shown = "\n".join(_shown(messages))
    users = (m.get("content") for m in messages if m.get("role") == "user")
    asked = "\n".join(text for content in users for text in _texts(content))
    return Conversation(tools, "" if _HOME.fullmatch(folder) else folder, shown, asked)


def reason_against(conversation: Conversation, name: str, arguments: str) -> str:
    """Why a complete call is not allowed; empty if it is."""
    try:
        given: Any = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        given = None
    if name not in conversation.tools:
        return "the client does not offer it"
    if not isinstance(given, dict):
        return "its arguments are not an object"
    call = cast(dict[str, Any], given)
    if name in _EXAMPLES:
        plain = all(isinstance(value, str) for value in call.values())
        return "" if plain and call.keys() <= _ASKS else "it is more than a question"
    match name:
        case "Write":
            return _against_write(conversation, call)
        case "Bash":
            return _against_append(conversation, call)
        case "Read":
            return _against_show(conversation, call)
        case _:
            return "it is not `Write`, `Bash` or `Read`"


def _against_write(conversation: Conversation, call: dict[str, Any]) -> str:
    path = call.get("file_path")
    if set(call) != {"file_path", "content"} or not isinstance(call["content"], str):
        return "it has other arguments than a path and a text"
    inside = _inside(path, conversation.folder)
    if not inside:
        return "its path is not clearly inside the working folder"
    if may_name(conversation.shown, inside, conversation.folder):
        return "the conversation has already shown that file, or one that may be it"
    return _against_a_slip(conversation, inside)


def _against_append(conversation: Conversation, call: dict[str, Any]) -> str:
    command, rest = call.get("command"), {key: call[key] for key in call if key != "command"}
    found = _APPEND.fullmatch(command) if isinstance(command, str) else None
    if found is None or not _are(rest, description=str, timeout=int):
        return "its command does more than append one line"
    # The shell parses the whole command, including the folder.
    plain = _PLAIN.fullmatch(found[1].removeprefix("/"))
    inside = _inside(found[1], conversation.folder) if plain else ""
    if not inside:
        return "its path is not clearly inside the working folder"
    return _against_a_slip(conversation, inside)


def _against_show(conversation: Conversation, call: dict[str, Any]) -> str:
    rest = {key: call[key] for key in call if key != "file_path"}
    if not _are(rest, offset=int, limit=int):
        return "it does more than show one file"
    inside = _inside(call.get("file_path"), conversation.folder)
    if not inside:
        return "its path is not clearly inside the working folder"
    return _against_a_slip(conversation, inside)


def _are(given: Mapping[str, Any], **kinds: type) -> bool:
    """Whether there are only these arguments, each of its type."""
    return all(type(value) is kinds.get(name) for name, value in given.items())


def _against_a_slip(conversation: Conversation, inside: str) -> str:
    """A small model misspells names: a file that the user did not name was not asked for."""
    texts = (conversation.asked, conversation.shown)
    if any(names(text, inside, conversation.folder) for text in texts):
        return ""
    return "the user did not name that file"


def _inside(path: Any, folder: str) -> str:
    """The path below the folder; empty if it is not clearly inside."""
    if not isinstance(path, str) or len(path) > 255:
        return ""
    if "\\" in folder:
        path, folder = path.replace("\\", "/"), folder.replace("\\", "/")
    if folder and path.startswith(folder + "/"):
        path = path[len(folder) + 1 :]
    elif not folder and "/" in path:
        return ""
    return path if _PLAIN.fullmatch(path) else ""


def _shown(messages: list[dict[str, Any]]) -> Iterator[str]:
    """The texts that may name existing files: all except orders and the client's description of
    the machine."""
    missing: set[Any] = set()
    blocks = [(m.get("role"), block) for m in messages for block in _blocks(m.get("content"))]
    reads = {
        b.get("id") for _, b in blocks if b.get("type") == "tool_use" and b.get("name") == "Read"
    }
    for _, block in blocks:
        text = "\n".join(_texts(block.get("content"))).strip().lower()
        if block.get("is_error") is True and _MISSING.match(text) and not _DENIED.search(text):
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
    """Content as a list of blocks; a string is one block."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}]
    found: list[dict[str, Any]] = []
    for item in as_list(value):
        found += _blocks(item) if isinstance(item, str) else [as_object(item)]
    return found
