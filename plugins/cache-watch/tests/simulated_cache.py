"""Upstreams whose usage follows a simulated prompt cache, as their vendors document them."""

from __future__ import annotations

import json

from plugway.testing import WaitFor, anthropic_message, anthropic_stream, respond, sse

BYTES_PER_TOKEN = 4
LOOKBACK = 20
SECONDS = {"5m": 300, "1h": 3600}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def cost(item):
    return len(json.dumps(item)) // BYTES_PER_TOKEN


def plain(item):
    """Without marks."""
    if isinstance(item, dict):
        return {k: plain(v) for k, v in item.items() if k != "cache_control"}
    return [plain(part) for part in item] if isinstance(item, list) else item


def mark_in(block):
    """The lifetime of the mark of a block, or of what is inside it."""
    found = [block.get("cache_control")]
    if isinstance(block.get("content"), list):
        found += [part.get("cache_control") for part in block["content"]]
    marks = [mark for mark in found if mark]
    return SECONDS[marks[0].get("ttl", "5m")] if marks else 0


class MarkedCache:
    """Anthropic's: https://platform.claude.com/docs/en/build-with-claude/prompt-caching."""

    def __init__(self, clock, minimum=1024, *, forgets_thinking=False):
        self.clock = clock
        self.minimum = minimum
        self.forgets_thinking = forgets_thinking
        self.entries = {}
        """When what was stored for a model and a prefix expires."""
        self.hold = None
        """An event for which replies wait; until then nothing is stored."""
        self.waiting = []
        self.times = 1
        """How often a prompt is counted, as with tools that the server runs itself."""
        self.tells_writes = True

    def positions(self, body):
        """All blocks in order: their level, JSON, cost and lifetime of their mark."""
        system = body.get("system") or []
        if isinstance(system, str):
            system = [{"type": "text", "text": system}]
        found = [(0, tool) for tool in body.get("tools") or []]
        found += [(1, block) for block in system]
        messages = body["messages"]
        for message in self.kept(messages):
            content = message["content"]
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            found += [(2, {"role": message["role"], **block}) for block in content]
        return [(level, plain(block), cost(plain(block)), mark_in(block)) for level, block in found]

    def kept(self, messages):
        """Older models drop the thinking before the last text of the user."""
        if not self.forgets_thinking:
            return messages
        texts = [
            at
            for at, m in enumerate(messages)
            if m["role"] == "user"
            and (isinstance(m["content"], str) or any(b["type"] == "text" for b in m["content"]))
        ]
        last = texts[-1] if texts else 0
        return [
            {**m, "content": [b for b in m["content"] if b["type"] != "thinking"]}
            if at < last and isinstance(m["content"], list)
            else m
            for at, m in enumerate(messages)
        ]

    def usage(self, body, key=""):
        """Look up, then store."""
        positions = self.positions(body)
        images = any('"type": "image"' in json.dumps(block) for _, block, _, _ in positions)
        wider = {
            1: [body.get("speed")],
            2: [
                body.get("speed"),
                body.get("tool_choice"),
                body.get("thinking"),
                body.get("output_config"),
                images,
            ],
        }
        prefixes, sums = [], []
        seen, total = [key, body["model"]], 0
        for level, block, tokens, _ in positions:
            seen.append(json.dumps(block))
            total += tokens
            prefixes.append(hash((*seen, json.dumps(wider.get(level)))))
            sums.append(total)
        marks = [at for at, (*_, seconds) in enumerate(positions) if seconds]
        now, read, stored = self.clock(), 0, []
        for mark in marks:
            for at in range(mark, max(-1, mark - LOOKBACK), -1):
                if self.entries.get(prefixes[at], 0) >= now:
                    read = max(read, sums[at])
                    stored.append((prefixes[at], positions[at][3] or 300))
                    break
            if sums[mark] >= self.minimum:
                stored.append((prefixes[mark], positions[mark][3]))
        last = max((sums[at] for at in marks if sums[at] >= self.minimum), default=0)
        if self.hold:
            self.waiting.append(stored)
        else:
            self.store(stored)
        written = max(0, last - read)
        if not self.tells_writes:
            total, written = total + written, 0
        return {
            "input_tokens": (total - max(last, read)) * self.times,
            "cache_read_input_tokens": read * self.times,
            "cache_creation_input_tokens": written * self.times,
            "output_tokens": 5,
        }

    def store(self, stored):
        for prefix, seconds in stored:
            until = self.clock() + seconds
            self.entries[prefix] = max(until, self.entries.get(prefix, 0))

    def release(self):
        """Begin the replies that are held."""
        for stored in self.waiting:
            self.store(stored)
        self.waiting.clear()
        held, self.hold = self.hold, None
        held.set()

    def __call__(self, request):
        """Answer a request."""
        body = request.json
        usage = self.usage(body, request.header("x-api-key") or "")
        wait = [WaitFor(self.hold)] if self.hold else []
        if body.get("stream"):
            return [*wait, *sse(anthropic_stream("Hello.", usage=usage))]
        return [*wait, *respond(200, anthropic_message("Hello.", usage=usage))]


class PlainCache:
    """One that needs no marks, such as OpenAI's: whole items of a common beginning are read."""

    def __init__(self, clock, seconds=300, minimum=1024, step=128, *, reports=True):
        self.clock, self.seconds, self.minimum, self.step = clock, seconds, minimum, step
        self.reports = reports
        self.entries = {}

    def __call__(self, request):
        """Answer a request of Chat Completions."""
        body = request.json
        items = [*(body.get("tools") or []), *body["messages"]]
        seen, total, read, now = [body["model"]], 0, 0, self.clock()
        for item in items:
            seen.append(json.dumps(item))
            total += cost(item)
            prefix = hash(tuple(seen))
            if self.entries.get(prefix, 0) >= now:
                read = total
            self.entries[prefix] = now + self.seconds
        read = read // self.step * self.step if read >= self.minimum else 0
        usage = {"prompt_tokens": total, "completion_tokens": 5, "total_tokens": total + 5}
        if self.reports:
            usage["prompt_tokens_details"] = {"cached_tokens": read}
        message = {"role": "assistant", "content": "Hello."}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return respond(
            200,
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [choice],
                "usage": usage,
            },
        )
