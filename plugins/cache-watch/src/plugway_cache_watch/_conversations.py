"""The last requests of each conversation as fingerprints, and the judgement of a new one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from plugway import Bounded, Caller, Exchange, MessagesRequest
from plugway_cache_watch._body import PromptBody
from plugway_cache_watch._causes import (
    Asked,
    Cause,
    causes,
    edits_between,
    moved,
    parallel,
    recounted,
    unwritten,
)
from plugway_cache_watch._diff import is_summary
from plugway_cache_watch._prints import (
    Print,
    continued,
    digest,
    hashes_in,
    print_of,
)
from plugway_cache_watch._providers import Rules

MOST_CONVERSATIONS: Final = 256
MOST_HASHES: Final = 400_000
"""Hashes of all conversations together: about 50 MB."""
_PROMPT: Final = frozenset(("tools", "system", "messages"))
_MOST_ASKED: Final = 12
"""Requests of a conversation that are remembered: clients make others beside its turns."""
_BYTES_PER_TOKEN: Final = 16
"""More than a token has in nearly all texts: what a hit lacks is at most this long."""

_UNNAMED: Final = "\0"

Key = tuple[str, str, str, str]
Verdict = tuple[int, Sequence[Cause]]
"""Tokens that could have been read and were not, and the causes."""
_HIT: Final = (Cause("hit", ""),)


@dataclass(slots=True, eq=False)
class Conversation:
    """A conversation of one client, or of one of its subagents."""

    named: bool
    """The client names its conversations. Otherwise this may be several with one key."""
    asked: list[Asked] = field(default_factory=list[Asked])
    """Its last requests, the oldest first."""
    flying: dict[str, Sent] = field(default_factory=dict[str, "Sent"])
    """Requests that have not ended, by exchange."""

    @property
    def hashes(self) -> int:
        """Number of hashes in its fingerprints, shared ones once."""
        parts = {id(part): part for a in self.asked for part in (a.print.tools, a.print.system)}
        lists = {id(a.print.messages.shared): a.print.messages.shared for a in self.asked}
        fixed = sum(hashes_in(part) for part in parts.values())
        return fixed + sum(shared.hashes for shared in lists.values())


class Conversations:
    """The conversations that are remembered, in bounded memory."""

    def __init__(self, most_hashes: int = MOST_HASHES) -> None:
        self._known: Bounded[Key, Conversation] = Bounded(MOST_CONVERSATIONS)
        self._most_hashes = most_hashes
        self._hashes = 0
        """At most so many hashes are remembered."""

    def __iter__(self) -> Iterator[Conversation]:
        """The conversations, the least recently used first."""
        return iter(self._known.values())

    def at(self, key: Key) -> Conversation:
        """The conversation of a request, which is the newest from now on."""
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Conversation(named=not key[2].startswith(_UNNAMED))
        else:
            self._known.move_to_end(key)
        return found

    def remember(self, conversation: Conversation, asked: Asked, hashes: int) -> None:
        """Add a request that was answered, with `hashes` that none before has."""
        conversation.asked.append(asked)
        del conversation.asked[:-_MOST_ASKED]
        self._hashes += hashes
        if self._hashes > self._most_hashes:
            self._shrink()

    def _shrink(self) -> None:
        """Forget the least recently used until there is room for more."""
        held = {key: found.hashes for key, found in self._known.items()}
        self._hashes = sum(held.values())
        for key, hashes in held.items():
            if self._hashes <= self._most_hashes * 3 // 4:
                return
            if key == next(reversed(self._known)):
                found = self._known[key]
                del found.asked[:-1]
                self._hashes = found.hashes
            else:
                del self._known[key]
                self._hashes -= hashes


@dataclass(slots=True, eq=False)
class Target:
    """A backend's model."""

    name: str
    rules: Rules
    turns: int = 0
    """Requests to it so far."""
    reports: bool = False
    """It has reported cached tokens."""
    writes: bool = False
    """It has reported tokens that it added to its cache."""

    @property
    def counts_written(self) -> bool:
        """Whether it reports what it adds. Others are assumed to add all that is new."""
        return self.writes or self.rules.reports


@dataclass(slots=True, eq=False)
class Sent:
    """A request as it was sent to a target, until its exchange ends."""

    id: str
    target: Target
    request: MessagesRequest
    conversation: Conversation
    credentials: int
    started: float
    turn: int
    epoch: int
    known: Print | None = None
    """Its fingerprint, once one was needed."""

    def fingerprint(self, body: PromptBody | None = None) -> Print:
        """The fingerprint of its whole prompt."""
        if self.known is None:
            self.known = print_of(body or PromptBody(self.request))
        return self.known

    def asked(self, counts: Counts, fingerprint: Print, thread: int) -> Asked:
        """The request with its outcome."""
        return Asked(
            self.id,
            self.target.name,
            fingerprint,
            self.credentials,
            hash(self.request.header("anthropic-beta")),
            self.started,
            counts.began,
            counts.total,
            counts.read,
            counts.written if self.target.counts_written else counts.total - counts.read,
            counts.several,
            self.epoch,
            self.turn,
            tuple([c.summary for c in self.request.changes if c.field in _PROMPT]),
            thread,
        )


class Counts(NamedTuple):
    """What the server reported about a prompt."""

    total: int
    read: int
    written: int
    began: float
    """When its reply began."""
    several: bool
    """The counts are those of several requests together."""


def key_of(exchange: Exchange, credentials: int) -> Key:
    """The conversation of an exchange, apart from those of other callers.

    Clients that name no conversation have one per key, in which requests are matched by content.
    """
    caller = exchange.caller
    session = exchange.session_id or f"{_UNNAMED}{credentials}"
    return (caller.share, caller.name, session, exchange.agent_id or "")


def credentials_of(caller: Caller) -> int:
    """A hash of the caller's own credentials for upstreams."""
    return digest(b"\0".join(b"\0".join(pair) for pair in caller.credentials))


def continuation(
    conversations: Conversations, sent: Sent, counts: Counts, body: PromptBody
) -> Verdict | None:
    """The verdict on a request that goes on where an earlier one ended, and that was read from the
    cache up to there. It is remembered. None for all others."""
    if not counts.read or counts.several:
        return None
    conversation, rules = sent.conversation, sent.target.rules
    threads: set[int] = set()
    for before in reversed(conversation.asked):
        if before.thread in threads or not _precedes(before, sent):
            continue
        threads.add(before.thread)
        cached = before.cached(rules)
        lacking = cached - counts.read
        if not cached or lacking > rules.slack:
            continue
        known = before.print.messages.shared
        already = known.hashes
        fingerprint = continued(before.print, body, lacking * _BYTES_PER_TOKEN)
        if fingerprint is not None:
            shared = fingerprint.messages.shared
            fresh = shared.hashes - (already if shared is known else 0)
            now = sent.asked(counts, fingerprint, before.thread)
            conversations.remember(conversation, now, fresh)
            return max(0, lacking), _HIT
    return None


def judge(
    conversations: Conversations, sent: Sent, counts: Counts, body: PromptBody, fingerprint: Print
) -> Verdict:
    """Compare a request with the earlier ones of its conversation, and remember it."""
    conversation = sent.conversation
    now = sent.asked(counts, fingerprint, sent.turn)
    alike = _alike(now, conversation.asked)
    before = next((a for a in alike if _precedes(a, sent)), None)
    if before is None:
        verdict = _without_predecessor(now, alike, sent, body)
    else:
        begins = begins_anew(before.print, now.print, named=conversation.named)
        now = now if begins else now._replace(thread=before.thread)
        verdict = _compared(now, before, sent, body, begins=begins)
    conversations.remember(conversation, now, fingerprint.hashes)
    return verdict


def _compared(now: Asked, before: Asked, sent: Sent, body: PromptBody, *, begins: bool) -> Verdict:
    """The verdict on a request that is not a plain continuation of `before`. If it `begins` another
    conversation, only tools and system prompt could have been read."""
    rules = sent.target.rules
    nothing = unwritten(now, before, rules, sent.target.reports)
    cached = before.total if nothing else before.cached(rules)
    missed = min(cached, now.total) - now.read
    if begins:
        missed = min(missed, int(now.total * now.print.definitions) - now.read)
    if nothing and nothing.code in {"several", "unreported"}:
        return 0, [nothing]
    if begins and missed <= max(rules.slack, now.total // 10):
        return 0, [_first(now, sent)]
    if missed <= (0 if not now.read else rules.slack):
        return max(0, missed), _HIT
    found = causes(now, before, body, rules, begins=begins)
    if nothing:
        visible = [c for c in found if c.code not in {"unexplained", "evicted", "expired", "mark"}]
        return missed, [nothing, *visible]
    if found[0].code in {"unexplained", "evicted"}:
        if now.total < before.total and not begins:
            return 0, [recounted()]
        for name, share in _parallels(now, sent):
            if int(now.total * share) - now.read > rules.slack:
                return missed, [parallel(name)]
    return missed, found


def _without_predecessor(now: Asked, alike: list[Asked], sent: Sent, body: PromptBody) -> Verdict:
    rules = sent.target.rules
    for name, share in _parallels(now, sent):
        missed = int(now.total * share) - now.read
        if missed > rules.slack:
            return missed, [parallel(name)]
    others = (a for a in alike if a.began <= now.started and not _same_cache(a, now))
    for other in sorted(others, key=lambda a: a.began, reverse=True):
        if begins_anew(other.print, now.print, named=sent.conversation.named):
            share = _common(other.print, now.print, marked=rules.marked)
            changes: list[Cause] = []
        else:
            share = min(1.0, other.print.size / (now.print.size or 1))
            changes = edits_between(other, now, body, rules)
        missed = min(other.total, int(now.total * share)) - now.read
        if missed > rules.slack:
            return missed, [moved(now, other), *changes]
    return 0, [_first(now, sent)]


def _first(now: Asked, sent: Sent) -> Cause:
    if any(_same_cache(asked, now) for asked in sent.conversation.asked):
        text = f"no earlier request of this conversation to `{now.target}` begins like this one"
    else:
        text = f"the first request of this conversation to `{now.target}`"
    return Cause("first", text)


def _precedes(before: Asked, sent: Sent) -> bool:
    """Whether the server could have had its prompt in the same cache."""
    same = before.target == sent.target.name and before.credentials == sent.credentials
    return same and before.began <= sent.started


def _same_cache(one: Asked, other: Asked) -> bool:
    return one.target == other.target and one.credentials == other.credentials


def _parallels(now: Asked, sent: Sent) -> Iterator[tuple[str, float]]:
    """Requests whose replies had not begun when this one was sent, and the part of its prompt that
    they share."""
    marked = sent.target.rules.marked
    for asked in sent.conversation.asked:
        if _same_cache(asked, now) and asked.started <= now.started < asked.began:
            yield asked.id, _common(asked.print, now.print, marked=marked)
    for other in list(sent.conversation.flying.values()):
        same = other.target == sent.target and other.credentials == sent.credentials
        if same and other.started <= sent.started and not other.request.heavy:
            yield other.id, _common(other.fingerprint(), now.print, marked=marked)


def _alike(now: Asked, asked: list[Asked]) -> list[Asked]:
    """Earlier requests with a part of the same prompt, those that share most of it first."""
    new = now.print
    messages = {entry.digest for entry in new.messages}
    definitions = {entry.digest for entry in (*new.tools, *new.system)}
    found: list[tuple[int, int, Asked]] = []
    for order, before in enumerate(asked):
        shared = sum(entry.digest in messages for entry in before.print.messages)
        theirs = [*before.print.tools, *before.print.system]
        same = sum(entry.digest in definitions for entry in theirs)
        most = same * 2 > max(len(theirs), len(definitions))
        # With other tools and instructions it is a request beside the turns, unless it goes on.
        goes_on = shared == len(before.print.messages) < len(new.messages)
        if most or (shared and (same or not theirs or goes_on or shared > 2)):
            found.append((shared, order, before))
    return [before for _, _, before in sorted(found, key=lambda item: item[:2], reverse=True)]


def begins_anew(old: Print, new: Print, *, named: bool) -> bool:
    """Whether `new` has none of the messages of `old`, and is no later turn and no summary of the
    same conversation either."""
    before, now = old.messages[old.leading :], new.messages[new.leading :]
    if not before or not now:
        return False
    known = {entry.digest for entry in before}
    if any(entry.digest in known for entry in now) or set(before[0].parts) & set(now[0].parts):
        return False
    longer, shorter = len(now) > len(before), is_summary(old, new)
    return not (named and (longer or shorter))


def _common(old: Print, new: Print, *, marked: bool) -> float:
    """The part of `new`, from 0 to 1, that is a common beginning with `old`; if marks count, up to
    the last mark of `old` in it."""
    size = common = stored = 0
    marks = {mark[:2] for mark in old.marks}
    whole = True
    for level, (before, now) in enumerate(zip(old[:3], new[:3], strict=True)):
        for index, entry in enumerate(now):
            size += entry.size
            whole = whole and index < len(before) and before[index].digest == entry.digest
            common += entry.size if whole else 0
            if whole and (level, index) in marks:
                stored = common
        whole = whole and len(before) == len(now)
    return (stored if marked else common) / size if size else 0.0
