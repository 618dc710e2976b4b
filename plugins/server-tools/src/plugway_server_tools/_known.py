"""Anthropic's typed tools as data: those that its servers run, and those that clients run.

Types, names and blocks: `types/` of the `anthropic` SDK 2.11, there `server_tool_use_block.py`,
`*_tool_result_error*.py` and `beta/beta_memory_tool_20250818_*_command.py`. The arguments of `bash`
of the text editor: https://platform.claude.com/docs/en/agents-and-tools/tool-use/bash-tool and
`.../text-editor-tool`; that `insert` has `insert_text` since 2025-04-29: replies of the API
(anthropic-sdk-python#1155).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway_translation import own_call_id

_DATE: Final = re.compile(r"_(\d{8})$")
_NEW_EDITOR: Final = "20250429"
"""Date of the first text editor without `undo_edit`."""

_STRING: Final = {"type": "string"}
_LINES: Final = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "The first and the last line to show; -1 for the end of the file.",
}
Schema = Mapping[str, Any]


def _schema(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required)}


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A tool that only Anthropic's servers run."""

    title: str
    """Subject of a sentence about it."""
    does: str
    nothing: str
    """The consequence of a failed call."""
    result: str
    """Type of the block that contains its result."""
    schema: Schema
    needless: str = ""
    """Why other models do not need it if there are other tools; empty if it is offered to them."""
    returns: str = ""
    """What the model has to know about it where the gateway runs it."""

    def error(self, call_id: str, code: str = "unavailable") -> dict[str, Any]:
        """The block that reports a failed call."""
        content = {"type": f"{self.result}_error", "error_code": code}
        return {"type": self.result, "tool_use_id": call_id, "content": content}

    def message(self, name: str, target: str, because: str = "") -> str:
        """The message for the user; `because` is a sentence that says why it failed here."""
        why = because or (
            f"`{name}` runs on Anthropic's servers only, and this request went to `{target}`."
        )
        return f"{self.title} is not available through this gateway: {why} {self.nothing}"

    def model_message(self, name: str) -> str:
        """The error result for the model that called it."""
        return (
            f"`{name}` is not available here: it runs on Anthropic's servers only. {self.nothing} "
            "Say that it failed if that matters, continue without it, and do not present anything "
            "as its "
            "result."
        )

    def offered(self, name: str, *, runs: bool) -> dict[str, Any]:
        """The function that is offered instead of it; `runs` if the gateway runs its calls."""
        more = self.returns if runs else "Not available here: every call fails."
        description = f"{self.does} {more}"
        return {"name": name, "description": description, "input_schema": self.schema}


_NOTHING_FOUND: Final = "No tool was searched for."
_ALL_OFFERED: Final = "every tool is offered to the model at once"

SERVER_TOOLS: Final[Mapping[str, ServerTool]] = {
    "advisor": ServerTool(
        "The advisor",
        "Asks a stronger model for advice.",
        "No advice was given.",
        "advisor_tool_result",
        _schema(()),
    ),
    "code_execution": ServerTool(
        "Code execution",
        "Runs Python code in a sandbox and returns what it prints.",
        "No code was run, and there is no output.",
        "code_execution_tool_result",
        _schema(("code",), code=_STRING),
        returns="Print what you want to see.",
    ),
    "tool_search_tool_bm25": ServerTool(
        "Tool search",
        "Finds tools by words.",
        _NOTHING_FOUND,
        "tool_search_tool_result",
        _schema(("query",), query=_STRING),
        _ALL_OFFERED,
    ),
    "tool_search_tool_regex": ServerTool(
        "Tool search",
        "Finds tools by a regular expression.",
        _NOTHING_FOUND,
        "tool_search_tool_result",
        _schema(("pattern",), pattern=_STRING),
        _ALL_OFFERED,
    ),
    "web_fetch": ServerTool(
        "Fetching web pages",
        "Fetches the page at a URL.",
        "Nothing was fetched, and there is no page to report on.",
        "web_fetch_tool_result",
        _schema(("url",), url=_STRING),
        returns="Returns its text. The URL must have appeared in the conversation, as in the "
        "user's message or in results of a search.",
    ),
    "web_search": ServerTool(
        "Web search",
        "Searches the web.",
        "Nothing was searched, and there are no results to report.",
        "web_search_tool_result",
        _schema(("query",), query=_STRING),
        returns="Returns titles, URLs and excerpts of pages. Name the URLs that you use.",
    ),
}
"""By type, without its date."""

_BASH: Final = {
    "name": "bash",
    "description": "Runs a command in a bash session that keeps its state between calls.",
    "input_schema": _schema(
        (),
        command={**_STRING, "description": "The command; needed unless `restart` is true."},
        restart={"type": "boolean", "description": "True starts the session anew."},
    ),
}
_MEMORY: Final = {
    "name": "memory",
    "description": (
        "Keeps notes in files under /memories, across conversations. Look what is there before a "
        "task, and write down what a later conversation needs."
    ),
    "input_schema": _schema(
        ("command",),
        command={
            **_STRING,
            "enum": ["view", "create", "str_replace", "insert", "delete", "rename"],
        },
        path={**_STRING, "description": "File or folder; for all commands but `rename`."},
        view_range=_LINES,
        file_text={**_STRING, "description": "For `create`: the content of the file."},
        old_str={**_STRING, "description": "For `str_replace`: the text to replace."},
        new_str={**_STRING, "description": "For `str_replace`: the text in its place."},
        insert_line={"type": "integer", "description": "For `insert`: the line to insert at."},
        insert_text={**_STRING, "description": "For `insert`: the text."},
        old_path={**_STRING, "description": "For `rename`: where it is."},
        new_path={**_STRING, "description": "For `rename`: where it shall be."},
    ),
}
CLIENT_TOOLS: Final = frozenset(("bash", "memory", "text_editor"))
"""Tools that Anthropic defines and the client runs, by type without its date."""

UNDESCRIBED: Final[Mapping[str, str]] = {
    "browser_toolset": "the actions of a browser",
    "computer": "the actions of a computer",
    "computer_toolset": "the actions of a computer",
}
"""Tools that the client runs and whose arguments only Anthropic's models know: type without its
date -> description of the arguments."""


def base_of(kind: str) -> str:
    """A type without its date: `web_search` for `web_search_20250305`."""
    return _DATE.sub("", kind)


def client_function(kind: str) -> dict[str, Any]:
    """The function for a tool of `CLIENT_TOOLS`, under its default name."""
    match base_of(kind):
        case "bash":
            return dict(_BASH)
        case "memory":
            return dict(_MEMORY)
        case _:
            date = _DATE.search(kind)
            return _editor(date is None or date[1] >= _NEW_EDITOR)


def _editor(new: bool) -> dict[str, Any]:
    commands = ["view", "create", "str_replace", "insert"]
    replaced, inserted = "For `str_replace`: the text in its place.", "For `insert`: the text."
    texts = (
        {"new_str": replaced, "insert_text": inserted}
        if new
        else {"new_str": f"{replaced} {inserted}"}
    )
    parameters = _schema(
        ("command", "path"),
        command={**_STRING, "enum": commands if new else [*commands, "undo_edit"]},
        path={**_STRING, "description": "File, or folder to view."},
        view_range=_LINES,
        file_text={**_STRING, "description": "For `create`: the content of the file."},
        old_str={**_STRING, "description": "For `str_replace`: the text, which is there once."},
        insert_line={
            "type": "integer",
            "description": "For `insert`: after which line.",
        },
        **{name: {**_STRING, "description": text} for name, text in texts.items()},
    )
    return {
        "name": "str_replace_based_edit_tool" if new else "str_replace_editor",
        "description": "Views, creates and edits text files.",
        "input_schema": parameters,
    }


def call_block(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A call block of a server tool, with an id in the format of Anthropic's servers."""
    return {
        "type": "server_tool_use",
        "id": own_call_id(),
        "name": name,
        "input": dict(arguments),
    }
