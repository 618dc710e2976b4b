"""Parse a shell command into its simple commands, without judging them.

The grammar is tree-sitter's. If it and bash may disagree (text between tokens, a comment, an
unknown node), the script is marked `unclear`.
"""

from __future__ import annotations

import re
from functools import lru_cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from plugway_auto_mode._walk import Walk
from plugway_auto_mode._words import Script

MOST_BYTES = 16_384
MOST_DEPTH = 80
MOST_SIGNS = 500
"""Maximum nodes of one kind; the parser's error recovery takes quadratic time in them."""

_SIGNS = "|()<>{`!"
_LANGUAGE = Language(tree_sitter_bash.language())
_QUOTING = frozenset(("string", "translated_string", "heredoc_body"))
_GAP = re.compile(rb"(?:[ \t\n]|\\\n)*\Z")
_BEFORE_A_WORD = (b" ", b"\t", b"\n", b";", b"(", b"&", b"|")


@lru_cache(maxsize=8)  # the same call is parsed several times in a row
def parse(command: str) -> Script | None:
    """The simple commands in source order; None if it does not parse or is too large."""
    if len(command) > MOST_BYTES or any(command.count(sign) > MOST_SIGNS for sign in _SIGNS):
        return None
    data = command.encode("utf-8", "replace")
    if len(data) > MOST_BYTES:
        return None
    root = Parser(_LANGUAGE).parse(data).root_node
    if root.has_error:
        return None
    doubts = _doubts(root, data)
    if doubts is None:
        return None
    walk = Walk(data)
    walk.statements(root)
    if walk.loop_names & walk.set_names:
        doubts = doubts or "the variable of a loop is also set elsewhere"
    return Script(tuple(walk.commands), tuple(walk.functions), doubts or walk.unclear)


def _doubts(root: Node, data: bytes) -> str | None:
    """What bash could read differently; None if it is nested too deeply."""
    found, stack = "", [(root, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MOST_DEPTH:
            return None
        if node.type == "comment" and not _starts_a_word(node.start_byte, data):
            found = "a comment in an unusual place"
        children = node.children
        if not children:
            continue
        if node.type not in _QUOTING and not _contiguous(children, data):
            found = "ambiguous text"
        deeper = depth + (node.type != "list")
        stack.extend((child, deeper) for child in children)
    return found


def _starts_a_word(start: int, data: bytes) -> bool:
    return start == 0 or data[start - 1 : start] in _BEFORE_A_WORD


def _contiguous(children: list[Node], data: bytes) -> bool:
    end = children[0].end_byte
    for child in children[1:]:
        start = child.start_byte
        if start > end and not _blank(data[end:start], end, data):
            return False
        end = child.end_byte
    return True


def _blank(gap: bytes, start: int, data: bytes) -> bool:
    """Whether there are only blanks, and no line continuation that joins two words."""
    if not _GAP.match(gap):
        return False
    joins = b"\\" in gap and not (gap[:1] in b" \t" or gap[-1:] in b" \t")
    return not joins or _starts_a_word(start, data)
