"""Why a prompt, or a part of it, was not read from the cache."""

from __future__ import annotations

from typing import Final, NamedTuple

from plugway_cache_watch._body import PromptBody, blocks_in, kind_of
from plugway_cache_watch._diff import differences
from plugway_cache_watch._prints import SETTINGS, Mark, Print
from plugway_cache_watch._providers import Rules, ago, keeps_thinking, lifetime_in_words

LOOKBACK: Final = 20
"""Positions that Anthropic checks per mark, the mark itself included."""
_BYTES_PER_TOKEN: Final = 4
_LEVELS: Final = {
    "speed": 1,
    "tool_choice": 2,
    "thinking": 2,
    "output_config": 2,
    "output_format": 2,
}
"""The level that a setting invalidates at Anthropic."""
_AT_OPENAI: Final = {
    "prompt_cache_key": "by which OpenAI chooses a machine, and each has its own cache",
    "text": "whose schema is in front of the prompt",
    "response_format": "whose schema is in front of the prompt",
}


class Cause(NamedTuple):
    """One cause of a miss."""

    code: str
    """A word for programs, such as `changed` or `expired`."""
    text: str
    """The clause for people. It quotes nothing but the names of tools, models and fields."""


class Asked(NamedTuple):
    """One request of a conversation, and what came of it."""

    id: str
    target: str
    print: Print
    credentials: int
    """Hash of the caller's own credentials."""
    beta: int
    """Hash of the `anthropic-beta` header."""
    started: float
    """When it was sent; times are those of a monotonic clock, in seconds."""
    began: float
    """When its reply began; from then on the server's cache has its prompt."""
    total: int
    """Tokens of its prompt."""
    read: int
    """Tokens that were read from the cache."""
    written: int
    """Tokens that the server says it added to its cache."""
    several: bool
    """Its token counts are those of several requests together."""
    epoch: int
    """Number of the configuration that it was sent with."""
    turn: int
    """Number of requests to the target before it."""
    edits: tuple[str, ...] = ()
    """What the gateway changed in its prompt, as its receipt says."""
    thread: int = 0
    """Number of the first request that it goes on from; others are beside it."""

    def cached(self, rules: Rules) -> int:
        """Tokens that the cache holds after it."""
        if self.several:
            return 0
        return self.read + self.written if rules.marked else self.total


def causes(
    now: Asked, before: Asked, body: PromptBody, rules: Rules, *, begins: bool = False
) -> list[Cause]:
    """The causes of a miss, the main one first; at least one. If the request `begins` another
    conversation, its messages are no cause."""
    idle = now.started - before.began
    visible, at_start = _visible(now, before, body, rules, begins=begins)
    late = _expired(idle, before, body, rules)
    edits = [edit for edit in now.edits if edit not in before.edits]
    own = [Cause("gateway", f"the gateway did this: {edit}") for edit in edits]
    if late and now.read == 0 and not (visible and at_start):
        return [late, *visible, *(own if visible else [])]
    if visible:
        return [*visible, *([late] if late else []), *own]
    return [late or _hidden(now, before, rules, idle)]


def edits_between(before: Asked, now: Asked, body: PromptBody, rules: Rules) -> list[Cause]:
    """What differs besides, if the conversation moved to another cache."""
    vendor = rules.marked and rules.reports
    found = differences(before.print, now.print, body, vendor=vendor)
    return [Cause("changed", item.text) for item in found]


def unwritten(now: Asked, before: Asked, rules: Rules, reported: bool) -> Cause | None:
    """Why the earlier request left nothing in the cache; None if it did."""
    if now.several or before.several:
        text = "one exchange made several requests, whose tokens are only known together"
        return Cause("several", text)
    if not reported and not rules.reports:
        return unreported(now.target)
    if before.total < rules.minimum:
        text = f"the prompt was below {rules.provider}'s minimum of {rules.minimum:,} tokens"
        return Cause("minimum", text)
    if rules.marked and not before.read + before.written:
        if before.print.marks:
            least = f"; for this model its minimum is {rules.minimum:,} tokens up to a mark"
            text = f"{rules.provider} stored nothing of the last request although it had marks"
            return Cause("minimum", text + least)
        return Cause(
            "unmarked",
            "the last request had no cache mark (`cache_control`), so nothing was stored",
        )
    return None


def unreported(target: str) -> Cause:
    """The server has not said that it read anything."""
    text = f"`{target}` has not reported any cached tokens so far: it caches nothing, or "
    return Cause("unreported", f"{text}does not say what it read")


def recounted() -> Cause:
    """A longer prompt has fewer tokens than the one before."""
    text = "the server counted fewer tokens than for the shorter prompt before: it ran tools itself"
    return Cause("recounted", f"{text}, or cleared a part of the context (`context_management`)")


def parallel(other: str) -> Cause:
    """Another request with the same prompt had not been answered when this one was sent."""
    text = "was sent before the reply to a parallel request with the same beginning had begun"
    return Cause("parallel", f"{text} (`{other}`); its prompt was not in the cache yet")


def moved(now: Asked, before: Asked) -> Cause:
    """The conversation went to another target or with another key."""
    if now.target == before.target:
        return Cause("key", "it was sent with another key than the last request")
    (old, was), (new, is_now) = (t.split("/", 1) for t in (before.target, now.target))
    if old == new:
        return Cause("model", f"the model changed from `{was}` to `{is_now}`")
    return Cause("target", f"the target changed from `{before.target}` to `{now.target}`")


# ── what can be seen in the two requests ─────────────────────────────────────────────────────


def _visible(
    now: Asked, before: Asked, body: PromptBody, rules: Rules, *, begins: bool
) -> tuple[list[Cause], bool]:
    """The visible causes in the order of the prompt, and whether the first is at its start,
    where nothing before it could have been read."""
    vendor = rules.marked and rules.reports
    found: list[tuple[int, int, Cause]] = []
    last = max((m for m in before.print.marks), default=None)
    for item in differences(before.print, now.print, body, vendor=vendor):
        level, edit = item.level, item.edit
        if rules.marked and last is not None and (level, edit.old) > (last.level, last.at):
            continue  # behind the last mark nothing was stored
        if not (begins and level == 2 and edit.at >= now.print.leading):
            found.append((level, edit.at, Cause("changed", item.text)))
    if rules.marked:
        found += [] if begins else _invalidating(now, before, body)
        changed = (0, 0) if begins else min([item[:2] for item in found] or [(3, 0)])
        if not now.print.marks or now.print.marks[-1][:2] < changed:
            found += [(3, 0, cause) for cause in _about_marks(now.print, before.print)]
        found.sort(key=lambda item: item[:2])
    elif rules.provider == "OpenAI":
        for name in _changed_settings(now, before):
            if why := _AT_OPENAI.get(name):
                found.insert(0, (0, 0, Cause("setting", f"`{name}` changed, {why}")))
    if not found:
        return [], False
    level, at, _ = found[0]
    start = _is_start(before.print, level, at, rules)
    return [cause for _, _, cause in found], start


def _is_start(before: Print, level: int, at: int, rules: Rules) -> bool:
    """Whether nothing that ends before this place was in the cache."""
    if rules.marked:
        return not any((m.level, m.at) < (level, at) for m in before.marks)
    parts = (before.tools, before.system, before.messages)
    ahead = [entry for part in parts[:level] for entry in part] + list(parts[min(level, 2)][:at])
    return sum(entry.size for entry in ahead) < max(rules.minimum, 64) * _BYTES_PER_TOKEN


def _invalidating(now: Asked, before: Asked, body: PromptBody) -> list[tuple[int, int, Cause]]:
    """Changes that invalidate levels of Anthropic's cache although the prompt is the same: "What
    invalidates the cache" at https://platform.claude.com/docs/en/build-with-claude/prompt-caching.
    """
    found: list[tuple[int, int, Cause]] = []
    for name in _changed_settings(now, before):
        if level := _LEVELS.get(name):
            what = "the system prompt and the messages" if level == 1 else "the messages"
            text = f"`{name}` changed, which invalidates the cache of {what}"
            found.append((level, -1, Cause("setting", text)))
    if before.print.images != now.print.images:
        verb = "first image was added" if now.print.images else "last image was removed"
        text = f"the {verb}, which invalidates the cache of the messages"
        found.append((2, -1, Cause("images", text)))
    if _drops_thinking(now, before, body):
        text = "this model drops the thinking of earlier turns when a user's text follows"
        found.append((2, -1, Cause("thinking", f"{text}, so the messages after it count as new")))
    return found


def _changed_settings(now: Asked, before: Asked) -> list[str]:
    pairs = zip(SETTINGS, before.print.settings, now.print.settings, strict=True)
    return [name for name, old, new in pairs if old != new]


def _drops_thinking(now: Asked, before: Asked, body: PromptBody) -> bool:
    """Whether a new text of the user makes an older model drop thinking that was cached."""
    if keeps_thinking(now.target) or body.get("thinking") is None:
        return False
    if not any(entry.thinking for entry in before.print.messages):
        return False
    added = range(len(before.print.messages), len(now.print.messages))
    users = [blocks_in(body.messages[i]) for i in added if now.print.messages[i].role == "user"]
    return any(kind_of(b) != "tool_result" for blocks in users for b in blocks)


def _about_marks(now: Print, before: Print) -> list[Cause]:
    """Marks that are missing, too early, or too far behind what the last request stored."""
    if not before.marks:
        return []
    stored = before.marks[-1]
    if not now.marks:
        text = "this request has no cache mark (`cache_control`); the last one had"
        return [Cause("mark", f"{text} {len(before.marks)}")]
    if now.marks[-1] < stored:
        text = f"the last cache mark moved back from {_place(stored)} to {_place(now.marks[-1])}"
        return [Cause("mark", f"{text}; nothing behind a mark is read")]
    if stored.level < 2 or any(_reaches(now, stored, mark) for mark in now.marks):
        return []
    ahead = min((_distance(now, stored, m) for m in now.marks if m >= stored), default=0)
    text = f"the next cache mark is {ahead} blocks behind what the last request stored at"
    least = f"{_place(stored)}; Anthropic looks back {LOOKBACK} blocks including the marked one"
    return [Cause("lookback", f"{text} {least}")]


def _reaches(now: Print, stored: Mark, mark: Mark) -> bool:
    return mark >= stored[:3] and _distance(now, stored, mark) < LOOKBACK


def _distance(now: Print, stored: Mark, mark: Mark) -> int:
    """Blocks from what was stored to a mark behind it."""
    between = now.messages[stored.at : mark.at]
    return sum(len(entry.parts) for entry in between) + mark.block - stored.block


def _place(mark: Mark) -> str:
    return f"{('tools', 'system', 'messages')[mark.level]}[{mark.at}]"


# ── what cannot ──────────────────────────────────────────────────────────────────────────────


def _expired(idle: float, before: Asked, body: PromptBody, rules: Rules) -> Cause | None:
    if rules.marked:
        marks = before.print.marks
        lifetime = marks[-1].seconds if marks else 300.0
        words = lifetime_in_words(lifetime)
    elif rules.provider == "OpenAI" and body.get("prompt_cache_retention") == "24h":
        lifetime, words = 24 * 3600.0, "up to 24 hours"
    else:
        lifetime, words = rules.lifetime, rules.lifetime_text
    if not lifetime or idle <= lifetime:
        return None
    text = f"the last request with this prompt was {ago(idle)} ago; {rules.provider} keeps it for"
    return Cause("expired", f"{text} {words}")


def _hidden(now: Asked, before: Asked, rules: Rules, idle: float) -> Cause:
    """A miss without a visible cause: what may have happened."""
    text = f"the same prompt was sent {ago(idle)} ago and nothing in it changed"
    hints: list[str] = []
    changed = [f"`{name}`" for name in _changed_settings(now, before)]
    if now.beta != before.beta:
        changed.append("the header `anthropic-beta`")
    if changed:
        hints.append(f"{' and '.join(changed)} changed")
    if now.epoch != before.epoch:
        hints.append("the configuration was reloaded since, perhaps with another key or address")
    others = now.turn - before.turn - 1
    if others > 0 and rules.provider == "this machine":
        hints.append(f"{others} other request{'s' * (others > 1)} ran there in between")
    if rules.otherwise:
        hints.append(rules.otherwise)
    code = "evicted" if rules.provider == "this machine" else "unexplained"
    return Cause(
        code, "; ".join([text, *hints]) if hints else f"{text}: {rules.provider} dropped it"
    )
