"""Guessing ahead: what is guessed, and that it changes nothing but the time."""

import re

import numpy as np
import pytest

from conftest import text_of
from plugway_llama_cpp._guess import Luck, guess
from tests.slow import quick_first

pytestmark = pytest.mark.anyio


def ahead(tokens, most=4):
    return guess(np.array(tokens, np.int32), most).tolist()


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 1, 2, 3], [4, 5, 6, 7]),
        ([1, 2, 3, 4, 9, 1, 2, 3, 8, 9, 1, 2, 3], [8, 9, 1, 2]),
        ([5, 5, 5, 5, 5], [5]),
        ([1, 2, 3, 4, 5, 9, 2, 3], []),
        ([1, 2, 3], []),
        ([], []),
        ([1, 2, 3, 4, -7, -8, 1, 2, 3], [4]),
    ],
)
def test_what_followed_the_last_time_is_guessed_up_to_an_image(tokens, expected):
    assert ahead(tokens) == expected


def test_nothing_is_guessed_where_nothing_is_wanted():
    assert ahead([1, 2, 3, 4, 1, 2, 3], 0) == []


def test_wrong_guesses_pause_longer_each_time_and_a_right_one_ends_that():
    luck, pauses = Luck(), []
    for _ in range(10):
        assert luck.ask()
        luck.report(4, 0)
        waited = 0
        while not luck.ask():
            waited += 1
        pauses.append(waited)
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == 64
    luck.report(4, 4)
    assert luck.ask()
    assert luck.notes() == ["guessed ahead: 4 of 44 tokens kept"]


PROMPTS = (
    [{"role": "user", "content": "one two three four five " * 30}],
    [{"role": "user", "content": "Say it again. " * 20 + "What did I say?"}],
)


@pytest.mark.parametrize("kind", quick_first(["full", "hybrid", "sliding"], 1))
async def test_the_reply_is_the_same_with_and_without(engine, models, kind):
    replies = {}
    for ahead_by in (0, 6):
        async with engine(models[kind], guess_ahead=ahead_by, disk_cache_mib=0) as e:
            replies[ahead_by] = [
                [
                    text_of(await e.say(prompt, max_tokens=200, temperature=0)),
                    text_of(await e.say(prompt, max_tokens=100, temperature=0.3)),
                    text_of(await e.say(prompt, max_tokens=200, stop_sequences=["e"])),
                    (await e.say(prompt, max_tokens=57))["usage"]["output_tokens"],
                ]
                for prompt in PROMPTS
            ]
    assert replies[6] == replies[0]
    stood = [re.match(r"guessed ahead: (\d+) of", note) for note in e.notes]
    assert (sum(int(found[1]) for found in stood if found) > 50) == (kind != "hybrid")


async def test_conversations_go_on_after_wrong_guesses_as_after_none(engine, models):
    first = PROMPTS[0]
    texts = []
    for ahead_by in (0, 6):
        async with engine(models["sliding"], guess_ahead=ahead_by, disk_cache_mib=0) as e:
            said = text_of(await e.say(first, session="s", max_tokens=90))
            again = [
                *first,
                {"role": "assistant", "content": said},
                {"role": "user", "content": "?"},
            ]
            texts.append((said, text_of(await e.say(again, session="s", max_tokens=90))))
    assert texts[0] == texts[1]
