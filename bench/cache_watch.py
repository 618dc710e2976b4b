"""The cost of `cache-watch` for a turn that goes on where the last one ended: CPU time.

    python -m bench.cache_watch           about 10 seconds
    python -m bench.cache_watch --json

Conversations grow by a question and an answer per request, from 110 KB to 150 KB. The backend
replies at once with a short stream, and reports that all but the new messages came from its cache.
Everything runs in this process, without sockets, in turn with and without the plugin; the figure is
the median of the differences. `edited` changes an early message in each request, so that nothing of
a request is known and all of it is hashed.

Goal: 20 us per turn.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import statistics
import sys
import time
from typing import Any

from bench import bodies
from bench.plugins import Upstream, served
from plugway import Attempt, MessagesRequest, Plugin, Reply
from plugway.exchange.intake import ExchangeServer
from plugway.exchange.pipeline import Limits, Pipeline
from plugway.plugins.hooks import Hooks
from plugway.testing import anthropic_stream
from plugway_cache_watch import CacheWatch, CacheWatchOptions

GOAL_US = 20.0
NEW_TOKENS = 300
TURNS = 40
_MARK = {"cache_control": {"type": "ephemeral"}}


class Caching(Upstream):
    """Reads all but the last `NEW_TOKENS` tokens from its cache."""

    def __init__(self, *, reads: bool) -> None:
        super().__init__(1, native=True)
        self._reads, self._turn = reads, 0

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The stream, with the usage of this turn."""
        assert request.raw
        known = 30_000 + NEW_TOKENS * (self._turn % TURNS)
        reads = self._reads and self._turn % TURNS > 0
        self._turn += 1
        usage = {
            "input_tokens": 3,
            "cache_read_input_tokens": known if reads else 0,
            "cache_creation_input_tokens": NEW_TOKENS if reads else known,
            "output_tokens": 9,
        }
        events = anthropic_stream("Done.", usage=usage)
        self.pieces = [f"event: {n}\ndata: {json.dumps(d)}\n\n".encode() for n, d in events]
        return Reply.relay(self._chunks())


def conversation(*, edited: bool) -> list[bytes]:
    """The bodies of a growing conversation, marked as Claude Code marks it."""
    body = json.loads(bodies.big("x", stream=True))
    body["system"][-1] |= _MARK
    found: list[bytes] = []
    for turn in range(TURNS):
        body["messages"] = copy.deepcopy(body["messages"])
        for message in body["messages"]:
            if isinstance(message["content"], list):
                for block in message["content"]:
                    block.pop("cache_control", None)
        words = f"Question {turn}. " * 40
        text = {"type": "text", "text": words}
        body["messages"] += [
            {"role": "assistant", "content": [{"type": "text", "text": f"Answer {turn}. " * 40}]},
            {"role": "user", "content": [text | _MARK]},
        ]
        if edited:
            body["messages"][0] = {"role": "user", "content": f"Edited {turn}."}
        found.append(json.dumps(body, separators=(",", ":")).encode())
    return found


async def measure(conversations: int, *, edited: bool) -> dict[str, float]:
    """CPU microseconds of a request without the plugin, and what it adds."""
    sent = conversation(edited=edited)
    stacks: dict[bool, ExchangeServer] = {}
    watch = CacheWatch(CacheWatchOptions(), name="cache-watch")
    for with_plugin in (False, True):
        upstream = Caching(reads=not edited)
        plugins: list[Plugin[Any]] = [*([watch] if with_plugin else []), upstream]
        limits = Limits()
        pipeline = Pipeline(Hooks(plugins), {"up": upstream}, limits)
        server = ExchangeServer(pipeline, limits, max_body_bytes=2**25, body_seconds=30)
        stacks[with_plugin] = server
    costs: dict[bool, list[float]] = {False: [], True: []}
    for number in range(conversations):
        lines = [(b"x-claude-code-session-id", b"%d" % number)]
        for turn, body in enumerate(sent):
            for with_plugin in (turn % 2 == 0, turn % 2 != 0):
                began = time.process_time()
                assert await served(stacks[with_plugin], body, lines)
                costs[with_plugin].append((time.process_time() - began) * 1e6)
    causes = [found.code for found in watch._explained.values()]
    wanted = ["first", *["changed" if edited else "hit"] * (TURNS - 1)]
    assert causes == wanted * conversations, "it explained each"
    added = [a - b for a, b in zip(costs[True], costs[False], strict=True)][TURNS:]
    return {"plain": statistics.median(costs[False]), "added": statistics.median(added)}


async def both(conversations: int) -> dict[str, dict[str, float]]:
    """The figures of continued and of edited conversations."""
    return {
        "continued": await measure(conversations, edited=False),
        "edited": await measure(3, edited=True),
    }


def main() -> int:
    """Print the figures; the exit status says whether the goal is met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--conversations", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = asyncio.run(both(options.conversations))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        for name, row in found.items():
            share = row["added"] / row["plain"]
            print(f"{name:12} {row['added']:7.1f} us, {share:.0%} of {row['plain']:.1f} us")
    return 0 if found["continued"]["added"] < GOAL_US else 1


if __name__ == "__main__":
    sys.exit(main())
