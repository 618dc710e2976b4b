"""The first place where two prompts differ, in words that quote nothing but the names of tools."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from plugway import as_object
from plugway_cache_watch._body import PromptBody, blocks_in, kind_of, text_in
from plugway_cache_watch._prints import ATTRIBUTION, Entry, Print
from plugway_translation import is_attribution

Kind = Literal["changed", "inserted", "removed", "reordered", "replaced"]

_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_BLOCKS: Final = frozenset(
    (
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "search_result",
        "input_text",
        "output_text",
        "input_image",
        "input_file",
        "image_url",
        "file",
        "refusal",
        "function_call",
        "function_call_output",
        "reasoning",
        "message",
    )
)
"""Types that are documented, and therefore no content."""
_TOOL_PARTS: Final = (
    "its name", "its description", "its schema", "its schema", "its definition", "its other fields",
)  # fmt: skip
_DATE: Final = re.compile(r"\b20\d\d[-/]\d\d?[-/]\d\d?\b|\bdate is\b|\bcurrent time\b", re.I)
_LOOKED_AT: Final = 20_000
"""Characters of a text in which the reason for a change is looked for."""


class Edit(NamedTuple):
    """The first difference of two lists."""

    kind: Kind
    at: int
    """Its position in the new list; for removed entries, where they were."""
    many: int = 1
    old: int = 0
    """Its position in the old list."""
    by: int = 1
    """Number of entries that replaced `many` others."""


class Difference(NamedTuple):
    """The first difference of two prompts on one level."""

    level: int
    """0 for tools, 1 for the system prompt, 2 for messages."""
    edit: Edit
    text: str


def first_edit(old: Sequence[Any], new: Sequence[Any], *, open_end: bool = False) -> Edit | None:
    """The first difference of two lists of hashes; None if they are equal.

    With `open_end`, entries that were added to the end do not count.
    """
    shared = min(len(old), len(new))
    at = next((i for i in range(shared) if old[i] != new[i]), shared)
    if at == len(old):
        appended = len(new) - len(old)
        return Edit("inserted", at, appended, at) if appended and not open_end else None
    if at == len(new):
        return Edit("removed", at, len(old) - at, at)
    if sorted(old[at:]) == sorted(new[at : len(old)]):
        return Edit("reordered", at, 1, at)
    removed, inserted = _found_again(old, new, at), _found_again(new, old, at)
    if removed and (not inserted or removed <= inserted):
        return Edit("removed", at, removed, at)
    if inserted:
        return Edit("inserted", at, inserted, at)
    return _replaced(old, new, at)


def _found_again(longer: Sequence[Any], shorter: Sequence[Any], at: int) -> int:
    """Number of entries of `longer` after which it goes on as `shorter` does at `at`; 0 if it does
    not."""
    places = (i for i in range(at + 1, len(longer)) if longer[i] == shorter[at])
    return next((i - at for i in places if _equal_from(longer, i, shorter, at)), 0)


def _replaced(old: Sequence[Any], new: Sequence[Any], at: int) -> Edit:
    """The edit at `at`, which may have replaced several entries by others."""
    places: dict[Any, int] = {}
    for index in range(len(old) - 1, at, -1):
        places[old[index]] = index
    for index in range(at + 1, len(new)):
        place = places.get(new[index])
        if place is not None and _equal_from(old, place, new, index):
            if place == index == at + 1:
                break
            return Edit("replaced", at, place - at, at, index - at)
    return Edit("changed", at, 1, at)


def _equal_from(longer: Sequence[Any], start: int, shorter: Sequence[Any], at: int) -> bool:
    """Whether the rest of `longer` goes on as `shorter` does at `at`."""
    rest = min(len(longer) - start, len(shorter) - at, 3)
    return rest > 0 and list(longer[start : start + rest]) == list(shorter[at : at + rest])


def differences(
    old: Print, new: Print, body: PromptBody, *, vendor: bool = False
) -> list[Difference]:
    """The first difference on each level, in the order of the prompt.

    With `vendor`, the server is Anthropic's own, which reads Claude Code's attribution entry
    itself: a difference there comes last.
    """
    tools, messages = tools_difference(old, new, body), _messages(old, new, body)
    system = system_difference(old.system, new.system, body)
    last = None
    if vendor and system is not None:
        before, now = map(_without_attribution, (old.system, new.system))
        rest = system_difference(before, now, body)
        last, system = (system if rest is None else None), rest
    return [found for found in (tools, system, messages, last) if found is not None]


def _without_attribution(system: Sequence[Entry]) -> list[Entry]:
    return [entry._replace(digest=0) if entry.role == ATTRIBUTION else entry for entry in system]


def tools_difference(old: Print, new: Print, body: PromptBody) -> Difference | None:
    """The first difference of the tools."""
    edit = first_edit([t.digest for t in old.tools], [t.digest for t in new.tools])
    if edit is None:
        return None
    if edit.kind == "reordered":
        text = f"tools were reordered from tools[{edit.at}] on"
        return Difference(0, edit, text)
    place = f"tools[{edit.at}]"
    if edit.kind == "removed":
        return Difference(0, edit, _removed(place, edit.many))
    named = f"{place}{tool_name(body.tools[edit.at])}"
    if edit.kind == "inserted":
        return Difference(0, edit, _inserted(named, edit.many))
    before, now = old.tools[edit.old].parts, new.tools[edit.at].parts
    changed = [what for what, a, b in zip(_TOOL_PARTS, before, now, strict=True) if a != b]
    what = "another tool is there" if "its name" in changed else f"{changed[0]} changed"
    return Difference(0, edit, f"{named}: {what}")


def system_difference(
    old: Sequence[Entry], new: Sequence[Entry], body: PromptBody
) -> Difference | None:
    """The first difference of the system prompt."""
    edit = first_edit([e.digest for e in old], [e.digest for e in new])
    if edit is None:
        return None
    place = f"system[{edit.at}]"
    if edit.kind == "removed":
        return Difference(1, edit, _removed(place, edit.many))
    if edit.kind == "reordered":
        return Difference(1, edit, f"system blocks were reordered from {place} on")
    hint = reason_in(body.system[edit.at])
    if edit.kind == "inserted":
        return Difference(1, edit, _inserted(place, edit.many) + hint)
    return Difference(1, edit, f"{place} changed{hint}")


def _messages(old: Print, new: Print, body: PromptBody) -> Difference | None:
    before, now = [m.digest for m in old.messages], [m.digest for m in new.messages]
    edit = first_edit(before, now, open_end=True)
    if edit is None:
        return None
    if edit.kind == "changed" and edit.at < 2 and is_summary(old, new):
        text = f"the conversation was compacted or restarted: messages[{edit.at}] differs and "
        return Difference(2, edit, f"{text}{len(before)} messages became {len(now)}")
    place = f"messages[{edit.at}]"
    if edit.kind == "removed":
        return Difference(2, edit, _removed(place + _role(old.messages[edit.old]), edit.many))
    if edit.kind == "replaced":
        last = f" to messages[{edit.old + edit.many - 1}]" if edit.many > 1 else ""
        others = "1 other" if edit.by == 1 else f"{edit.by} others"
        verb = "were" if edit.many > 1 else "was"
        return Difference(2, edit, f"{place}{last} {verb} replaced by {others}")
    place += _role(new.messages[edit.at])
    if edit.kind == "reordered":
        return Difference(2, edit, f"messages were reordered from {place} on")
    if edit.kind == "inserted":
        reasons = [reason_in(block) for block in blocks_in(body.messages[edit.at])]
        hint = next(filter(None, reasons), "")
        return Difference(2, edit, _inserted(place, edit.many) + hint)
    was, is_now = old.messages[edit.old], new.messages[edit.at]
    return Difference(2, edit, _edited(place, was, is_now, body.messages[edit.at]))


def is_summary(old: Print, new: Print) -> bool:
    """Whether so few messages are left that the conversation was compacted or restarted."""
    return len(new.messages) * 2 < len(old.messages)


def _edited(place: str, before: Entry, now: Entry, message: Any) -> str:
    """What changed in a message."""
    blocks = blocks_in(message)
    edit = first_edit(before.parts, now.parts)
    if edit is None:
        return f"{place} was edited: its role changed"
    if edit.kind == "removed":
        return f"{place} was edited: {_removed(f'content[{edit.at}]', edit.many)}"
    if edit.at >= len(blocks):
        what = "its tool calls" if "tool_calls" in as_object(message) else "its other fields"
        return f"{place} was edited: {what} changed"
    kind = kind_of(blocks[edit.at])
    named = f" `{kind}`" if kind in _BLOCKS else ""
    block = f"content[{edit.at}]{named}"
    hint = reason_in(blocks[edit.at])
    if edit.kind == "changed" and kind == "tool_use":
        hint = " (its input, or the order of the keys in it)"
    if edit.kind == "inserted":
        return f"{place} was edited: {_inserted(block, edit.many)}{hint}"
    verb = "and others were reordered" if edit.kind == "reordered" else "changed"
    return f"{place} was edited: {block} {verb}{hint}"


def reason_in(block: Any) -> str:
    """What may have changed in a block by itself, if its text shows that; it is not quoted."""
    text = text_in(block)[:_LOOKED_AT]
    if is_attribution(text):
        return (
            " (Claude Code's attribution entry, which differs in every version and conversation: "
            "`CLAUDE_CODE_ATTRIBUTION_HEADER=0` removes it)"
        )
    if "<system-reminder>" in text:
        date = ", which states a date" if _DATE.search(text) else ""
        return f" (a `<system-reminder>` of Claude Code{date})"
    if "<total_tokens>" in text:
        return " (Claude Code's count of remaining tokens)"
    if "gitStatus:" in text or "Git status" in text:
        return " (it contains the state of the git repository)"
    return " (it states a date or a time)" if _DATE.search(text) else ""


def tool_name(tool: Any) -> str:
    """The name of a tool in backticks after a space; empty if it is unusual."""
    fields = as_object(tool)
    name = fields.get("name") or as_object(fields.get("function")).get("name")
    return f" `{name}`" if isinstance(name, str) and _TOOL_NAME.fullmatch(name) else ""


def _role(entry: Entry) -> str:
    return f" ({entry.role})" if entry.role else ""


def _removed(place: str, count: int) -> str:
    return f"{place} was removed" if count == 1 else f"{place} and {count - 1} more were removed"


def _inserted(place: str, count: int) -> str:
    return f"{place} was inserted" if count == 1 else f"{place} and {count - 1} more were inserted"
