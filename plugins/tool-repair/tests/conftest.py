"""Tools, and a reader of pieces, that these tests share."""

import json
from collections import Counter

from plugway_tool_repair._pieces import Calls, Text, Unread
from plugway_tool_repair._prose import Prose
from plugway_tool_repair._tools import Toolbox


def schema(**kinds):
    return {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}


TOOLS = [
    {"name": "Read", "input_schema": {**schema(file_path="string"), "required": ["file_path"]}},
    {"name": "Bash", "input_schema": schema(command="string", timeout="integer")},
    {"name": "Write", "input_schema": schema(file_path="string", content="string")},
    {"name": "Edit", "input_schema": schema(edits="array", all="boolean")},
]
TOOLBOX = Toolbox({"tools": TOOLS})


def pieces_of(text, size=None, leaks=None):
    """What a text is read as: ("text", …), ("thinking", …), ("call", name, arguments)."""
    prose = Prose(TOOLBOX, Counter() if leaks is None else leaks)
    found = []
    size = size or max(len(text), 1)
    for start in range(0, len(text), size):
        found += prose.feed(text[start : start + size])
    found += prose.finish()
    result = []
    for piece in found:
        if isinstance(piece, Calls):
            result += [("call", name, json.loads(arguments)) for name, arguments in piece.calls]
            continue
        if isinstance(piece, Unread):
            continue
        kind = "text" if isinstance(piece, Text) else "thinking"
        if result and result[-1][0] == kind:
            result[-1] = (kind, result[-1][1] + piece.text)
        else:
            result.append((kind, piece.text))
    return result


def calls_of(text, size=None):
    return [piece for piece in pieces_of(text, size) if piece[0] == "call"]
