"""Marks for caching at routers that take them, and their end everywhere else."""

import pytest

from plugway_capabilities import Facts
from plugway_openai_wire.chat import Quirks

from .test_chat_request import PNG, assistant, result, text, translate, use, user

MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
ROUTER = Quirks(text_parts=True, cache_marks="anthropic/", system_turns="keep")
ON_MESSAGE = Quirks(text_parts=True, cache_marks="anthropic/", result_marks="message")


def sent(*messages, quirks=ROUTER, model="anthropic/claude-sonnet-4.5", **fields):
    made = translate(*messages, quirks=quirks, model=model, **fields)
    return made.body["messages"], made.notes.lines()


def marked(value):
    """Every object of a request that has a mark."""
    if isinstance(value, list):
        return [found for item in value for found in marked(item)]
    if isinstance(value, dict):
        inner = [found for item in value.values() for found in marked(item)]
        return [value, *inner] if "cache_control" in value else inner
    return []


CALLED = (user(text("go")), assistant(use()))
KEPT = {
    "the system prompt": (
        (user(text("hi")),),
        {"system": [text("a"), text("b") | MARK]},
        {"role": "system", "content": [text("a"), text("b") | MARK]},
    ),
    "its entry that lives longer": (
        (user(text("hi")),),
        {"system": [text("a") | HOUR]},
        {"role": "system", "content": [text("a") | HOUR]},
    ),
    "a text": ((user(text("hi") | MARK),), {}, {"role": "user", "content": [text("hi") | MARK]}),
    "a text beside an image": (
        (user(PNG, text("what?") | MARK),),
        {},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                text("what?") | MARK,
            ],
        },
    ),
    "a result": (
        (*CALLED, user(result(**MARK))),
        {},
        {"role": "tool", "tool_call_id": "toolu_1", "content": [text("ok") | MARK]},
    ),
    "an entry of a result": (
        (*CALLED, user(result(content=[text("a"), text("b") | MARK]))),
        {},
        {"role": "tool", "tool_call_id": "toolu_1", "content": [text("a\nb") | MARK]},
    ),
    "a result, on its message": (
        (*CALLED, user(result(**MARK))),
        {"quirks": ON_MESSAGE},
        {"role": "tool", "tool_call_id": "toolu_1", "content": "ok", **MARK},
    ),
    "a system turn": (
        (user(text("hi")), {"role": "system", "content": [text("x") | MARK]}, user(text("so"))),
        {},
        {"role": "system", "content": [text("x") | MARK]},
    ),
    "members that the router does not have": (
        (
            user(
                text("hi")
                | {"cache_control": {"type": "ephemeral", "scope": "global", "ttl": "9d"}}
            ),
        ),
        {},
        {"role": "user", "content": [text("hi") | MARK]},
    ),
}


@pytest.mark.parametrize(("messages", "fields", "message"), KEPT.values(), ids=KEPT)
def test_a_mark_arrives_where_the_router_reads_it(messages, fields, message):
    found, lines = sent(*messages, **fields)
    assert message in found
    assert len(marked(found)) == 1
    assert "translate cache_control: kept, as the router documents" in lines


LOST = {
    "another model": ((user(text("hi") | MARK),), {"model": "openai/gpt-5"}),
    "a server that is not known to take them": ((user(text("hi") | MARK),), {"quirks": Quirks()}),
    "a server that refused them": (
        (user(text("hi") | MARK),),
        {"facts": Facts(rejected_fields=frozenset(("messages.content.cache_control",)))},
    ),
    "a call": ((user(text("go")), assistant(use() | MARK), user(result())), {}),
    "an image": ((user(text("see"), PNG | MARK),), {}),
    "a result without a word": ((*CALLED, user(result(content="", **MARK))), {}),
    "a system turn elsewhere": (
        (user(text("hi")), {"role": "system", "content": [text("x") | MARK]}, user(text("so"))),
        {"quirks": Quirks()},
    ),
}


@pytest.mark.parametrize(("messages", "fields"), LOST.values(), ids=LOST)
def test_a_mark_that_cannot_be_sent_has_its_line(messages, fields):
    found, lines = sent(*messages, **fields)
    assert not marked(found)
    assert any(line.startswith("drop messages.cache_control: ") for line in lines)


@pytest.mark.parametrize("quirks", [ROUTER, ON_MESSAGE], ids=["on parts", "on messages"])
def test_four_marks_are_sent_at_most_the_first_and_the_last_ones(quirks):
    turns = [user(*(text(str(number)) | MARK for number in range(4)))]
    turns += [assistant(use()), user(result(content="last", **MARK))]
    found, lines = sent(*turns, system=[text("s") | HOUR], quirks=quirks)
    assert [part.get("text", part.get("content")) for part in marked(found)] == [
        "s",
        "2",
        "3",
        "last",
    ]
    dropped = "drop messages.cache_control: only 4 are accepted: the first and the last are kept"
    assert f"{dropped} (2 times)" in lines


def test_a_prompt_without_marks_is_as_everywhere():
    found, lines = sent(user(text("hi")), system=[text("a"), text("b")])
    assert found == [{"role": "system", "content": "a\n\nb"}, {"role": "user", "content": "hi"}]
    assert not lines
