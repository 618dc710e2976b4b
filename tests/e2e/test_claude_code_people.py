"""The real Claude Code with the key of a person."""

import time

import pytest
from accounts_kit import serving

from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
async def team(tmp_path):
    async with serving({"url": str(tmp_path / "store.db")}) as team:
        await team.people.add("ann", models=["plain/allowed"])
        yield team


def claude(team, folder, key, model="anthropic/plain/allowed"):
    return Claude(folder, team.running.url, key, model)


async def test_a_persons_key_is_all_that_the_client_needs(team, tmp_path):
    made = await team.people.issue("ann")
    answer = await claude(team, tmp_path, made.secret).run("-p", "hi")
    assert answer.code == 0, answer
    assert "plain answer" in answer.out
    assert made.secret not in repr([(one.headers, one.raw) for one in team.backend.seen])


async def test_a_revoked_key_ends_at_once_with_the_reason(team, tmp_path):
    made = await team.people.issue("ann")
    await team.people.revoke(made.id)
    began = time.monotonic()
    answer = await claude(team, tmp_path, made.secret).run("-p", "hi")
    assert answer.code != 0
    assert f"the key `{made.id}` was revoked" in answer.out + answer.err
    assert time.monotonic() - began < 20, "no storm of retries"
    assert team.backend.seen == []


async def test_a_model_that_is_not_granted_is_named(team, tmp_path):
    made = await team.people.issue("ann")
    answer = await claude(team, tmp_path, made.secret, "anthropic/plain/other").run("-p", "hi")
    assert answer.code != 0
    assert "400 `ann` may not use model `anthropic/plain/other`" in answer.out + answer.err, answer
    assert "authenticate" not in answer.out + answer.err
    assert team.backend.seen == []
