"""The last requests of each conversation as fingerprints, and the judgement of a new one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from plugway import Caller, Exchange, MessagesRequest
from plugway_cache_watch._body import PromptBody
from plugway_cache_watch._causes import (
    Asked,
    Cause,
    causes,
    moved,
    parallel,
    recounted,
    unwritten,
)
from plugway_cache_watch._prints import Print, continued, digest, print_of
from plugway_cache_watch._providers import Rules

MOST_CONVERSATIONS: Final = 256
_PROMPT: Final = frozenset(("tools", "system", "messages"))
_MOST_ASKED: Final = 12
"""Requests of a conversation that are remembered: clients make others beside its turns."""
_BYTES_PER_TOKEN: Final = 16
"""More than a token has in nearly all texts: what a hit lacks is at most this long."""

Key = tuple[str, str, str, str]
Verdict = tuple[int, Sequence[Cause]]
"""Tokens that could have been read and were not, and the causes."""
_HIT: Final = (Cause("hit", ""),)


@dataclass(slots=True, eq=False)
class Conversation:
    """A conversation of one client, or of one of its subagents."""

    asked: list[Asked] = field(default_factory=list[Asked])
    """Its last requests, the oldest first."""
    flying: dict[str, Sent] = field(default_factory=dict[str, "Sent"])
    """Requests that have not ended, by exchange."""

    def remember(self, asked: Asked) -> None:
        """Add a request that was answered."""
        self.asked.append(asked)
        del self.asked[:-_MOST_ASKED]


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


class Sent(NamedTuple):
    """A request as it was sent to a target, until its exchange ends."""

    id: str
    target: Target
    request: MessagesRequest
    conversation: Conversation
    credentials: int
    started: float
    turn: int
    epoch: int

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
            tuple(c.summary for c in self.request.changes if c.field in _PROMPT),
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
    session = exchange.session_id or f"-{credentials}"
    return (caller.share, caller.name, session, exchange.agent_id or "")


def credentials_of(caller: Caller) -> int:
    """A hash of the caller's own credentials for upstreams."""
    return digest(b"\0".join(b"\0".join(pair) for pair in caller.credentials))


def continuation(sent: Sent, counts: Counts, body: PromptBody) -> Verdict | None:
    """The verdict on a request that goes on where an earlier one ended, and that was read from the
    cache up to there. It is remembered. None for all others."""
    conversation, rules = sent.conversation, sent.target.rules
    threads: set[int] = set()
    for before in reversed(conversation.asked if counts.read and not counts.several else ()):
        if before.thread in threads or not _precedes(before, sent):
            continue
        threads.add(before.thread)
        cached = before.cached(rules)
        lacking = cached - counts.read
        if not cached or lacking > rules.slack:
            continue
        fingerprint = continued(before.print, body, lacking * _BYTES_PER_TOKEN)
        if fingerprint is not None:
            conversation.remember(sent.asked(counts, fingerprint, before.thread))
            return max(0, lacking), _HIT
    return None


def judge(sent: Sent, counts: Counts, body: PromptBody, fingerprint: Print) -> Verdict:
    """Compare a request with the earlier ones of its conversation, and remember it."""
    conversation = sent.conversation
    now = sent.asked(counts, fingerprint, sent.turn)
    alike = _alike(now, conversation.asked)
    before = next((a for a in alike if _precedes(a, sent)), None)
    if before is None:
        verdict = _without_predecessor(now, alike, sent)
    else:
        now = now._replace(thread=before.thread)
        verdict = _compared(now, before, sent, body)
    conversation.remember(now)
    return verdict


def _compared(now: Asked, before: Asked, sent: Sent, body: PromptBody) -> Verdict:
    """The verdict on a request that is not a plain continuation of `before`."""
    rules = sent.target.rules
    nothing = unwritten(now, before, rules, sent.target.reports)
    cached = before.total if nothing else before.cached(rules)
    missed = min(cached, now.total) - now.read
    if nothing and nothing.code in {"several", "unreported"}:
        return 0, [nothing]
    if missed <= (0 if not now.read else rules.slack):
        return max(0, missed), _HIT
    found = causes(now, before, body, rules)
    if nothing:
        visible = [c for c in found if c.code not in {"unexplained", "evicted", "expired", "mark"}]
        return missed, [nothing, *visible]
    if found[0].code in {"unexplained", "evicted"}:
        if now.total < before.total:
            return 0, [recounted()]
        for name, share in _parallels(now, sent):
            if int(now.total * share) - now.read > rules.slack:
                return missed, [parallel(name)]
    return missed, found


def _without_predecessor(now: Asked, alike: list[Asked], sent: Sent) -> Verdict:
    slack = sent.target.rules.slack
    for name, share in _parallels(now, sent):
        missed = int(now.total * share) - now.read
        if missed > slack:
            return missed, [parallel(name)]
    others = (a for a in alike if a.began <= now.started and not _same_cache(a, now))
    for other in sorted(others, key=lambda a: a.began, reverse=True):
        missed = min(other.total, int(now.total * _common(other.print, now.print))) - now.read
        if missed > slack:
            return missed, [moved(now, other)]
    if any(_same_cache(asked, now) for asked in sent.conversation.asked):
        text = f"no earlier request of this conversation to `{now.target}` begins like this one"
    else:
        text = f"the first request of this conversation to `{now.target}`"
    return 0, [Cause("first", text)]


def _precedes(before: Asked, sent: Sent) -> bool:
    """Whether the server could have had its prompt in the same cache."""
    same = before.target == sent.target.name and before.credentials == sent.credentials
    return same and before.began <= sent.started


def _same_cache(one: Asked, other: Asked) -> bool:
    return one.target == other.target and one.credentials == other.credentials


def _parallels(now: Asked, sent: Sent) -> Iterator[tuple[str, float]]:
    """Requests whose replies had not begun when this one was sent, and the part of its prompt that
    they share."""
    for asked in sent.conversation.asked:
        if _same_cache(asked, now) and asked.started <= now.started < asked.began:
            yield asked.id, _common(asked.print, now.print)
    for other in list(sent.conversation.flying.values()):
        same = other.target == sent.target and other.credentials == sent.credentials
        if same and other.started <= sent.started and not other.request.heavy:
            yield other.id, _common(print_of(PromptBody(other.request)), now.print)


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


def _common(old: Print, new: Print) -> float:
    """The part of `new` that is a common beginning with `old`, from 0 to 1."""
    size = common = 0
    whole = True
    for before, now in zip(old[:3], new[:3], strict=True):
        for index, entry in enumerate(now):
            size += entry.size
            whole = whole and index < len(before) and before[index].digest == entry.digest
            common += entry.size if whole else 0
        whole = whole and len(before) == len(now)
    return common / size if size else 0.0
