"""Replies of upstreams with one or a few mistakes: in values, events, bytes, or the head.

Every choice is made by the given `random.Random`, so that a reply can be reproduced.
"""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import dataclass, field, replace

from plugway_toolcalls.marks import ALL
from tests.faults.hostile import BEGUN
from tests.faults.seeds import EVENTS, FAILURES, NUMBERS, SEEDS

JSON = "application/json"


@dataclass
class Answer:
    """A reply as an upstream sends it."""

    status: int
    lines: tuple[tuple[str, str], ...]
    pieces: list[bytes]
    whole: bool = True
    """Whether it ends properly; otherwise the connection breaks after it."""
    told: list[str] = field(default_factory=list)
    """The changes that were made to it."""

    @property
    def body(self):
        return b"".join(self.pieces)


def _deep(levels):
    value = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"type": value}
    return value


VALUES = [
    None, True, False, 0, -1, 1, 2, 7, 1.5, -0.0, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, 10**400, 1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "x", "\0", "\n\n", "\r\ndata: x\n\n", "\ud83d", "\ude00",
    "\ud83d\ude00", "\u2028", "\ufeff", "é" * 50, "9" * 400, "x" * 5000, "0", "null", "{}", "[1", '{"a":', '"',
    [], [1, 2], [None], [[]], ["x"], [{}], {}, {"x": 1}, {"type": None}, {"type": 5}, {"type": "text"},
    {"type": "tool_use"}, {"text": {}}, {"": {"": ""}}, {"error": {"message": "busy"}}, _deep(40), _deep(300),
    json.dumps(_deep(300)), json.dumps({"path": _deep(240)}), json.dumps({"path": _deep(230)}), "http://[", "a.b/c",
]  # fmt: skip
UNKNOWN = [
    {"type": "news"}, {"type": "ping"}, {}, [], None, 5, "x", {"type": ["x"]}, {"type": None, "index": 10**20},
    {"choices": None}, {"choices": [None]}, {"candidates": [[]]}, {"error": None}, {"error": "x"}, {"error": {}},
    {"type": "error"}, {"type": "error", "error": {"type": 5, "message": ["x"]}}, {"usage": {"total_tokens": -5}},
    {"object": "error", "message": "x", "code": 40}, {"response": {}}, {"promptFeedback": 5},
]  # fmt: skip
NAMES = ["", "message", "error", "ping", "message_start", "message_stop", "content_block_stop", "response.completed", "é", "x" * 300]  # fmt: skip
TYPES = [
    "", "text/plain", "text/html; charset=x", JSON, "application/json; charset=utf-16", EVENTS, "TEXT/EVENT-STREAM",
    "application/x-ndjson", "image/png", ";", "é", "application/octet-stream",
]  # fmt: skip
STATUSES = [200, 201, 204, 206, 299, 300, 304, 400, 401, 402, 403, 404, 405, 408, 409, 413, 418, 422, 424, 429, 451, 499, 500, 501, 502, 503, 504, 520, 529, 599, 600, 999]  # fmt: skip
ODD_BYTES = [b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf5", b"\0", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\\", b'"', b"data: ", b":", b"\x1f\x8b", b"\\ud83d", b"\\u0000", b"NaN", b"-", b"1e999"]  # fmt: skip


DEEPEST_PLACE = 30


def places(node, deepest=math.inf):
    """The path of every node below the root, down to `deepest` levels."""
    found, left = [], [((), node)]
    while left:
        path, node = left.pop()
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            found.append((*path, key))
            if isinstance(value, dict | list) and len(path) < deepest:
                left.append(((*path, key), value))
    return found


def copied(value):
    """A fast copy of a JSON value."""
    return pickle.loads(pickle.dumps(value))


def at(node, path):
    for key in path:
        node = node[key]
    return node


def _alike(items, value, chance):
    """Another value of the same type in the same reply: a name, index, id or reason."""
    found = [
        inner
        for _, data in items
        if isinstance(data, dict | list)
        for path in places(data, deepest=DEEPEST_PLACE)
        if type(inner := at(data, path)) is type(value) and inner != value
    ]
    return copied(chance.choice(found)) if found else None


def value_changed(items, chance):
    """Change one node of an event: replace, remove, nest, empty, alter or duplicate it."""
    able = [n for n, (_, data) in enumerate(items) if isinstance(data, dict | list) and data]
    if not able:
        return "nothing"
    number = chance.choice(able)
    name, data = items[number]
    data = copied(data)
    path = chance.choice(places(data, deepest=DEEPEST_PLACE))
    holder, key = at(data, path[:-1]), path[-1]
    old, how = holder[key], chance.random()
    if how < 0.4:
        holder[key] = copied(chance.choice(VALUES))
    elif how < 0.55:
        del holder[key]
    elif how < 0.65:
        holder[key] = chance.choice([[old], {"x": old}, {key if isinstance(key, str) else "x": old}, [old, old]])  # fmt: skip
    elif how < 0.72:
        holder[key] = type(old)() if old is not None else ""
    elif how < 0.85:
        holder[key] = _alike(items, old, chance)
    else:
        _near(holder, key, chance)
    items[number] = (name, data)
    return f"event {number} at {path}: {str(holder[key] if not isinstance(holder, list) and key in holder else '')[:40]!r}"  # fmt: skip


def _near(holder, key, chance):
    """Alter the value slightly, or duplicate it."""
    old = holder[key]
    if isinstance(old, int | float) and not isinstance(old, bool):
        holder[key] = chance.choice([old + 1, old - 1, -old, old * 10**18, str(old), [old]])
    elif isinstance(old, str) and old[:1] in {"{", "["} and chance.random() < 0.6:
        holder[key] = _text_changed(old, chance)
    elif isinstance(old, str):
        cut = chance.randrange(len(old) + 1)
        holder[key] = chance.choice([old[:cut], old * 2, old.upper(), old[:cut] + "\ud83d" + old[cut:], [old], old + "\0"])  # fmt: skip
    elif isinstance(holder, list):
        holder.insert(key, copied(old))
    else:
        holder[f"{key}2"] = old


def _text_changed(text, chance):
    """Change JSON inside a text, such as the arguments of a call, in the same ways."""
    try:
        inner = [("", json.loads(text))]
    except (ValueError, RecursionError):
        return text[: chance.randrange(len(text))]
    value_changed(inner, chance)
    return json.dumps(inner[0][1])


MARKS = [
    *sorted(ALL),
    *BEGUN,
    "END",
    "</think>",
    "```",
    '{"name": "Read", "arguments": {"path": "a"}}',
]


def _marked(items, chance):
    """Put one or more markers into a text, as models do if their server does not parse calls."""
    found = [
        (number, path)
        for number, (_, data) in enumerate(items)
        if isinstance(data, dict | list)
        for path in places(data, deepest=DEEPEST_PLACE)
        if path[-1] in _TEXTS and isinstance(at(data, path), str)
    ]
    if not found:
        return "nothing"
    number, path = chance.choice(found)
    name, data = items[number]
    data = copied(data)
    holder, text = at(data, path[:-1]), at(data, path)
    marks = "".join(chance.choice(MARKS) for _ in range(chance.choice([1, 1, 2, 5])))
    cut = chance.randrange(len(text) + 1)
    holder[path[-1]] = text[:cut] + marks + text[cut:]
    items[number] = (name, data)
    return f"event {number} at {path} marked {marks[:40]!r}"


_TEXTS = {"text", "thinking", "content", "delta", "reasoning_content", "reasoning", "partial_json", "arguments", "signature", "refusal"}  # fmt: skip
_INDICES = {"index", "output_index", "content_index", "summary_index", "item_id", "id", "call_id"}


def _renumbered(items, chance):
    """Change the number or name of some or all events of one block, item or call."""
    found = [
        (path[-1], at(data, path))
        for _, data in items
        if isinstance(data, dict | list)
        for path in places(data, deepest=DEEPEST_PLACE)
        if path[-1] in _INDICES and not isinstance(at(data, path), dict | list)
    ]
    if not found:
        return "nothing"
    (field_, old), (_, other) = chance.choice(found), chance.choice(found)
    new = chance.choice([other, other, 0, 1, -1, 10**9, 2**63, None, "0", 0.5, True, "x" * 300])
    share = chance.choice([1, 1, 0.5])
    for number, (name, data) in enumerate(items):
        data = copied(data)
        for path in places(data if isinstance(data, dict | list) else [], deepest=DEEPEST_PLACE):
            if path[-1] == field_ and at(data, path) == old and chance.random() < share:
                at(data, path[:-1])[path[-1]] = new
        items[number] = (name, data)
    return f"{field_} {old!r} is {str(new)[:30]!r}"


def _interleaved(items, chance):
    """Interleave two parts of a stream."""
    first, middle, last = sorted(chance.randrange(len(items) + 1) for _ in range(3))
    one, other = items[first:middle], items[middle:last]
    mixed = []
    while one or other:
        mixed.append((one if not other or (one and chance.random() < 0.5) else other).pop(0))
    items[first:last] = mixed
    return f"interleaved {first} {middle} {last}"


def _spliced(items, chance):
    """Insert a part of another reply, of the same API or any other."""
    said = chance.choice(chance.choice(list(SEEDS.values())) if chance.random() < 0.4 else _akin(items, chance))  # fmt: skip
    others = list(said.items)
    first, last = sorted(chance.randrange(len(others) + 1) for _ in range(2))
    to = chance.randrange(len(items) + 1)
    part = copied(others[first:last])
    if chance.random() < 0.3:
        items[to:] = part
    else:
        items[to:to] = part
    return f"{len(part)} of another at {to}"


def _akin(items, chance):
    """The replies of the API of these events."""
    keys = {key for _, data in items if isinstance(data, dict) for key in data}
    api = next((api for api, mark in _SIGNS.items() if mark in keys), "messages")
    return SEEDS[api]


_SIGNS = {"chat": "choices", "gemini": "candidates", "responses": "sequence_number"}


def _chopped(items, chance):
    """Split a text into many events, anywhere, even inside a character."""
    found = [
        (number, path)
        for number, (_, data) in enumerate(items)
        if isinstance(data, dict | list)
        for path in places(data, deepest=DEEPEST_PLACE)
        if path[-1] in _TEXTS and isinstance(at(data, path), str) and at(data, path)
    ]
    if not found:
        return "nothing"
    number, path = chance.choice(found)
    name, data = items[number]
    raw = at(data, path).encode("utf-16-le", "surrogatepass")
    size = 2 * chance.choice([1, 2, 5])
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)][:400]
    told = []
    for piece in pieces:
        new = copied(data)
        at(new, path[:-1])[path[-1]] = piece.decode("utf-16-le", "surrogatepass")
        told.append((name, new))
    items[number : number + 1] = told
    return f"event {number} at {path} in {len(told)}"


SHAPES = [value_changed] * 9 + [_marked]
"""Changes of values, including complete replies."""


def _events_changed(items, chance):
    """Remove, duplicate, move or rename events, or add unknown ones."""
    at = chance.randrange(len(items))
    to = chance.randrange(len(items) + 1)
    how = chance.randrange(10)
    if how == 0:
        del items[at]
    elif how == 1:
        items.insert(to, copied(items[at]))
    elif how == 2:
        items.insert(to, items.pop(at))
    elif how == 3:
        other = chance.randrange(len(items))
        (one, a), (two, b) = items[at], items[other]
        items[at], items[other] = (two, a), (one, b)
    elif how == 4:
        items[at] = (chance.choice(NAMES), items[at][1])
    elif how == 5:
        items.insert(to, (chance.choice(NAMES), copied(chance.choice(UNKNOWN))))
    elif how == 6:
        del items[to:]
    elif how == 7:
        items += copied(items[:to])
    elif how == 8:
        chance.shuffle(items)
    else:
        items[to:to] = copied([items[at]] * chance.randrange(2, 40))
    return f"events {how} at {at} to {to}"


ORDERS = [_events_changed] * 4 + [_renumbered] * 2 + [_interleaved, _spliced, _spliced, _chopped]
"""Changes of the events of a stream."""


def as_text(value, chance):
    if isinstance(value, bytes):
        return value
    if chance.random() < 0.7:
        return json.dumps(value).encode()
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _written(said, chance):
    """The bytes of each item."""
    if not said.stream:
        return [as_text(data, chance) for _, data in said.items]
    end = said.end if chance.random() < 0.9 else chance.choice([b"\n\n", b"\r\n\r\n", b"\r\r"])
    line = end[: len(end) // 2]
    found = []
    odd = chance.random() < 0.15
    for name, data in said.items:
        head = b"event: " + name.encode() + line if name else b""
        text = as_text(data, chance)
        if odd and chance.random() < 0.3:
            found.append(_framed(head, text, line, end, chance))
        else:
            found.append(head + b"data: " + text + end)
    return found


def _framed(head, text, line, end, chance):
    """An event in a form that the standard allows but few servers use."""
    how = chance.randrange(8)
    if how == 0:
        return b": a comment" + line + line + head + b"data:" + text + end
    if how == 1:
        return b"id: 7" + line + b"retry: 10" + line + head + b"data: " + text + end
    if how == 2:
        return b"data: " + text + line + (head.removesuffix(line) if head else b":") + end
    if how == 3:
        halves = text.replace(b", ", b"," + line + b"data: ", 1)
        return head + b"data: " + halves + end
    if how == 4:
        return line * chance.randrange(1, 5) + head + b"data: " + text + end
    if how == 5:
        return head + head + b"data: " + text + end
    if how == 6:
        return b"\xef\xbb\xbf" + head + b"data: " + text + end
    return head + b"unknown: x" + line + b"data: " + text + line + b"event" + end


def bytes_changed(raw, chance):
    """Change, remove or add bytes, or cut off the rest."""
    if not raw:
        return raw, "nothing"
    raw, at = bytearray(raw), chance.randrange(len(raw))
    how = chance.randrange(6)
    if how == 0:
        for _ in range(chance.randrange(1, 6)):
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    elif how == 1:
        del raw[at:]
    elif how == 2:
        del raw[at : at + chance.randrange(1, 60)]
    elif how == 3:
        raw[at:at] = chance.choice(ODD_BYTES) * chance.randrange(1, 4)
    elif how == 4:
        raw[at:at] = raw[at : at + chance.randrange(1, 400)]
    else:
        raw[at] = chance.randrange(256)
    return bytes(raw), f"bytes {how} at {at}"


def _pieces(raw, parts, chance):
    """`raw` in chunks as a network splits it."""
    how = chance.random()
    if how < 0.3:
        return parts if b"".join(parts) == raw else [raw]
    if how < 0.6:
        return [raw]
    size = chance.choice([1, 7, 64, 1000])
    if len(raw) > 3000 and size == 1:
        size = 50
    return [raw[at : at + size] for at in range(0, len(raw), size)]


LINES = {
    "retry-after": ["0", "-1", "1.5", "9" * 400, "x", "Wed, 21 Oct 2015 07:28:00 GMT", "", "nan", "1e999"],
    "retry-after-ms": ["0", "x", "9" * 400],
    "x-should-retry": ["true", "false", "x"],
    "content-encoding": ["gzip", "br", "identity", "", "x"],
    "request-id": ["r", "", "x" * 3000, "\xe9"],
    "anthropic-ratelimit-requests-remaining": ["0", "-1", "x", "9" * 400],
    "anthropic-ratelimit-requests-reset": ["2099-01-01T00:00:00Z", "x", "", "0001-01-01T00:00:00+23:59"],
    "anthropic-ratelimit-unified-reset": ["9" * 30, "x", "1e400", "-5"],
    "x-ratelimit-reset-requests": ["1s", "6m0s", "x", "9" * 30 + "h"],
    "location": ["http://127.0.0.1:1/", "", "//"],
    "set-cookie": ["a=b"],
    "plugway-receipt": ["served-by=x"],
    "www-authenticate": ["Basic"],
}  # fmt: skip


def _head_changed(status, type_, lines, chance):
    how = chance.random()
    if how < 0.4:
        return chance.choice(STATUSES), type_
    if how < 0.7:
        return status, chance.choice(TYPES)
    for name in chance.sample(list(LINES), chance.choice([1, 1, 3])):
        lines[name] = chance.choice(LINES[name])
    return (status if chance.random() < 0.5 else chance.choice(STATUSES)), type_


def mutated(api, stream, chance):
    """A faulty reply of `api`; `stream` is what was requested."""
    seeds = SEEDS[api]
    if chance.random() < 0.12:
        said = chance.choice(FAILURES)
    else:
        wanted = stream if chance.random() < 0.95 else not stream
        said = seeds[chance.choice([n for n in range(len(seeds)) if (n in NUMBERS[api]) is wanted])]
    items, told = list(said.items), []
    times = chance.choice([1, 1, 1, 1, 1, 1, 2, 2, 3, 6])
    later = 0
    for _ in range(times):
        how = chance.random()
        if how < 0.5 and items:
            told.append(chance.choice(SHAPES)(items, chance))
        elif how < 0.75 and items and said.stream:
            told.append(chance.choice(ORDERS)(items, chance))
        else:
            later += 1
    parts = _written(replace(said, items=tuple(items)), chance)
    raw = b"".join(parts)
    status, type_, whole_ = said.status, EVENTS if said.stream else JSON, True
    named = {name: value for name, value in said.lines if name != "content-type"}
    for _ in range(later):
        how = chance.random()
        if how < 0.6:
            raw, did = bytes_changed(raw, chance)
            told.append(did)
        elif how < 0.9:
            status, type_ = _head_changed(status, type_, named, chance)
            told.append(f"{status} {type_!r} {str(named)[:60]}")
        else:
            whole_ = False
            told.append("no end")
    lines = ((("content-type", type_),) if type_ else ()) + tuple(named.items())
    return Answer(status, lines, _pieces(raw, parts, chance), whole_, told)
