"""Texts with a meaning in a reply: starts of calls, and markers that must never be visible.

All of it comes from the model families in `plugway_toolcalls`, except for leaks that no family
lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from plugway_toolcalls._families import FAMILIES, CallFormat
from plugway_toolcalls._tools import Tool

SEARCHED: Final = tuple(family for family in FAMILIES if family.recipients is None)
"""The families whose calls are found in any text. The others' begin as much else does (`>>>`)."""
_OTHER_LEAKS: Final = (
    "<|im_start|>assistant",
    "<|im_start|>",
    "<|im_end|>",
    "<|im_sep|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|begin_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|start_header_id|>assistant<|end_header_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot|>",
    "<|eos|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|message|>",
    "<|constrain|>",
    "<|assistant|>",
    "<|end▁of▁sentence|>",
    "<start_of_turn>model",
    "<start_of_turn>",
    "<end_of_turn>",
    "<eos>",
    "<bos>",
    "<pad>",
    "<unk>",
    "[/INST]",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|endofprompt|>",
)
PAIRED: Final = {"</s>": "<s>", "</think>": "<think>", "◁/think▷": "◁think▷"}
"""Texts that are a leak only if their opening marker did not occur before."""
UNUSED = r"<unused\d{1,4}>|<\|reserved_special_token_\d{1,4}\|>|<extra_id_\d{1,3}>"
_ANY_CHANNEL: Final = "<|channel>"
"""Gemma's, which begins other text, too."""
THINKING: Final = {
    opening: closing
    for family in SEARCHED
    for opening, closing in family.reasoning
    if not opening[0].isalpha() and opening != _ANY_CHANNEL
}
"""Markers of reasoning at the start of a text."""
HEADERS: Final = tuple(o for f in FAMILIES if f.header for o in f.header.openings)
HEADER_END: Final = "<|message|>"
TO: Final = re.compile(r"to=(?:functions\.)?(?P<name>[\w.-]+)")
"""Start of the tool's name in a header."""
HEADER_CLOSES: Final = ("<|end|>", "<|return|>", "<|call|>", *HEADERS)

_HEADER_FAMILY: Final = next(f for f in FAMILIES if f.header is not None)
_ALL: Final = sorted(
    dict.fromkeys(spec for f in SEARCHED for spec in f.calls), key=lambda spec: not spec.wrapped
)
"""Of two formats that differ in little, the one that more models write comes first."""
OPENINGS: Final = frozenset(spec.opening for spec in _ALL if spec.opening) - {
    o for s in _HEADER_FAMILY.calls if (o := s.opening)
}
CLOSERS: Final = tuple(
    sorted({c for spec in _ALL for c in (spec.closing, *spec.outers) if c}, key=len, reverse=True)
)
"""Markers that end a call; after a call they have no meaning."""
_PLAIN: Final = re.compile(r"\[[A-Z]+(?: [A-Z]+)+\]|</?\w+>")
"""Markers that other models may write as text: words in brackets, and HTML-like tags."""
_LEAKS: Final = frozenset(
    {mark for f in FAMILIES for mark in (*f.noise, *f.stops) if not _PLAIN.fullmatch(mark)}
    | set(_OTHER_LEAKS)
    | set(PAIRED)
    | set(THINKING.values())
) - set(HEADERS)


_Tree = dict[str, "_Tree"]


def _alternation(marks: Iterable[str]) -> str:
    """A pattern for any of these marks, the longest that fits. What they begin with in common is
    looked for once. Each alternative begins with a character, so that a search is quick."""
    tree: _Tree = {}
    for mark in marks:
        node = tree
        for sign in mark:
            node = node.setdefault(sign, {})
        node[""] = {}
    return "|".join(_options(tree))


def _options(tree: _Tree) -> list[str]:
    return [re.escape(sign) + _branches(rest) for sign, rest in sorted(tree.items()) if sign]


def _branches(tree: _Tree) -> str:
    options = _options(tree)
    either = options[0] if len(options) == 1 else f"(?:{'|'.join(options)})" if options else ""
    return f"(?:{either})?" if "" in tree and either else either


ALL: Final = tuple({*OPENINGS, *HEADERS, *_LEAKS, *THINKING, *PAIRED.values()})
_COMMON: Final = re.compile(r"[\w\]]")
_ENOUGH: Final = 9


def _beginnings(marks: Iterable[str]) -> str:
    """A pattern for how marks begin: one character, or more if it is common in text. At the end of
    a text, a part of these is enough."""
    rare = {mark[0] for mark in marks if not _COMMON.match(mark)}
    long = {mark[:_ENOUGH] for mark in marks if _COMMON.match(mark)}
    short = {text[:size] for text in long for size in range(1, len(text))}
    options = ["[" + re.escape("".join(sorted(rare))) + "]", _alternation(long)]
    return "|".join([*options, f"(?:{_alternation(short)})\\Z"])


FIRST: Final = re.compile(_beginnings(ALL))
"""Where a marker may begin: text without such a place is not examined."""
MARK: Final = re.compile(f"{_alternation(ALL)}|{UNUSED}")
LONGER: Final = {
    mark: longer
    for mark in ALL
    if (longer := tuple(m for m in ALL if len(m) > len(mark) and m.startswith(mark)))
}
"""The longer markers that begin with a marker."""
LONGEST: Final = max(len(mark) for mark in ALL)
_NUMBERED: Final = ("<unused", "<|reserved_special_token_", "<extra_id_")
_BEGUN: Final = frozenset(
    mark[:size] for mark in (*ALL, *_NUMBERED) for size in range(1, len(mark) + 1)
)
_UNUSED_BEGUN = re.compile(
    r"<(?:unused\d{0,4}|\|reserved_special_token_\d{0,4}\|?|extra_id_\d{0,3})"
)


def held(text: str) -> int:
    """Length of the longest suffix of `text` that may be the start of a marker."""
    start = max(0, len(text) - LONGEST)
    for match in FIRST.finditer(text, start):
        tail = text[match.start() :]
        if tail in _BEGUN or _UNUSED_BEGUN.fullmatch(tail):
            return len(tail)
    return 0


def end_of_run(mark: str, text: str, start: int) -> int:
    """Where the run of `mark` ends that begins at `start`. The last one is left out if it may be
    part of a longer marker."""
    end = start + len(mark)
    next_one = mark * 2 if mark in LONGER else mark
    while text.startswith(next_one, end):
        end += len(mark)
    return end


def grows(mark: str, text: str, start: int) -> bool:
    """Whether further text may extend the `mark` at `start` to a longer one."""
    rest = text[start : start + LONGEST]
    return any(m.startswith(rest) for m in LONGER.get(mark, ()))


def formats_of(opening: str, following: str) -> list[CallFormat]:
    """The formats of a call with this opening.

    `following` is its first character other than white space, which distinguishes formats with the
    same opening.
    """
    formats = [spec for spec in _ALL if spec.opening == opening and _fits(spec, following)]
    # Of two formats that differ only in a closing tag, the one with a tag accepts both.
    by_head: dict[tuple[str, str], CallFormat] = {}
    for spec in sorted(formats, key=lambda spec: not spec.closing):
        by_head.setdefault((spec.kind, spec.head), spec)
    return list(by_head.values())


def header_format() -> CallFormat:
    """The format of a call whose name is in a message header."""
    assert _HEADER_FAMILY.header is not None
    return CallFormat("arguments", closing=_HEADER_FAMILY.header.closing, head=r"\s*")


def _fits(spec: Any, following: str) -> bool:
    if spec.kind == "object":
        return following in "{[`"
    if spec.kind == "python":
        return following != "{"
    if spec.kind == "tags" and spec.opening.endswith(">"):
        inner = spec.head.startswith(r"\s*<")
        return (following == "<") is inner
    return True


def head_names(text: str, names: Iterable[str]) -> bool:
    """Whether one of `names`, already in lower case, occurs in `text`."""
    low = text.lower()
    return any(name in low for name in names)


def aliases(text: str, tools: dict[str, Tool], named: Any) -> list[tuple[str, Tool]]:
    """Tools, by the names that `text` seems to use for them."""
    found: dict[str, Tool] = {}
    for word in re.findall(r"[A-Za-z_][\w-]*", text):
        real = named(word)
        if real is not None and word not in tools:
            found[word] = Tool(word, schema=tools[real].schema)
    return list(found.items())
