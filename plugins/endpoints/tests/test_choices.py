"""The table of choices, in memory and in its file."""

import pytest

from plugway_endpoints import AGENTS, MAX_CHOICES, Choice, Choices

pytestmark = pytest.mark.anyio
NOW = 4e9


def choice(target, model="m"):
    return Choice(target, model, ("local", "google"), NOW)


async def test_the_nearest_choice_holds():
    choices = Choices(None)
    await choices.set("s", "", choice("a/1"))
    assert choices.of("s", None, "m").target == "a/1"
    assert choices.of("s", "x", "m").target == "a/1"
    assert choices.of("s", None, "other") is None
    assert choices.of("t", None, "m") is None
    assert choices.of(None, None, "m") is None
    await choices.set("s", AGENTS, choice("b/2", ""))
    await choices.set("s", "x", choice("c/3", ""))
    assert choices.of("s", "x", "any").target == "c/3"
    assert choices.of("s", "y", "any").target == "b/2"
    assert choices.of("s", None, "m").target == "a/1"


async def test_a_new_choice_of_the_session_ends_those_of_its_subagents():
    choices = Choices(None)
    await choices.set("s", "x", choice("c/3", ""))
    await choices.set("s", "", choice("a/1"))
    assert choices.of("s", "x", "m").target == "a/1"


async def test_clearing_says_whether_there_was_one():
    choices = Choices(None)
    await choices.set("s", "", choice("a/1"))
    await choices.set("s", "x", choice("a/1"))
    assert await choices.clear("s", "x")
    assert not await choices.clear("s", "x")
    assert await choices.clear("s")
    assert not await choices.clear("s")
    assert len(choices) == 0


async def test_the_oldest_goes_first():
    choices = Choices(None)
    for number in range(MAX_CHOICES + 5):
        await choices.set(f"s{number}", "", choice("a/b"))
    assert len(choices) == MAX_CHOICES
    assert choices.of("s4", None, "m") is None
    assert choices.of("s5", None, "m") is not None


async def test_the_file_gives_back_what_was_chosen_and_forgets_what_is_old(tmp_path):
    first = Choices(tmp_path / "sub" / "c.db")
    await first.set("s", "", choice("a/1"))
    await first.set("s", "x", choice("b/2", ""))
    await first.set("old", "", Choice("a/1", "m", (), 5.0))
    second = Choices(tmp_path / "sub" / "c.db")
    await second.load()
    assert second.of("s", None, "m") == choice("a/1")
    assert second.of("s", "x", "any") == choice("b/2", "")
    assert second.of("old", None, "m") is None
    await first.clear("s")
    third = Choices(tmp_path / "sub" / "c.db")
    await third.load()
    assert len(third) == 0


async def test_two_gateways_do_not_undo_each_other(tmp_path):
    first, second = Choices(tmp_path / "c.db"), Choices(tmp_path / "c.db")
    await first.load()
    await second.load()
    await first.set("one", "", choice("a/1"))
    await second.set("two", "", choice("b/2"))
    third = Choices(tmp_path / "c.db")
    await third.load()
    assert len(third) == 2
