"""The history: what ended is found after a restart, by whom it belongs to, and nothing more."""

import json
import logging
import sqlite3
import stat
import time
from contextlib import closing

import anyio
import pytest
from going import item, logs_of

from plugway import NoOptions, Plugin
from plugway.testing import (
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard import Dashboard
from plugway_dashboard._history import MAX_DATA, History, history_path
from plugway_dashboard._search import query_of
from plugway_echo import Echo

pytestmark = pytest.mark.anyio
PHONE = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
AS_PHONE = {"authorization": "Bearer phone-token"}
DAY = 24 * 3600


async def test_yesterdays_failure_is_found_after_a_restart_by_any_of_its_words():
    busy = anthropic_error(529, "overloaded_error", "Overloaded")
    async with ScriptedUpstream(otherwise=busy) as upstream:
        cloud = build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url)
        async with gateway([*stack(), cloud]) as running:
            headers = {"x-claude-code-session-id": "5d6b0b04-1"}
            body = request_body(model="cloud/large")
            await running.client.post("/v1/messages", json=body, headers=headers)
            await running.ask("fine", model="echo/one")
    path = history_path("dashboard")
    with sqlite3.connect(path) as db:
        old = "update exchanges set words = replace(words, 'day:', 'day:1999-12-31 ') where "
        db.execute(old + "not completed")
    async with gateway(stack()) as running:
        words = ("cloud/large", "status:529", "overloaded", "5d6b0b04", "1999-12-31", "LARGE fail")
        for search in (*words, "target:cloud outcome:failed"):
            (only,) = (await found(running, search))["exchanges"]
            assert (only["status"], only["model_asked"]) == (529, "cloud/large")
        (only,) = (await found(running, failed=1))["exchanges"]
        assert only["outcome"] == "failed"
        assert len((await found(running))["exchanges"]) == 2
        assert (await found(running, "status:52 nowhere"))["exchanges"] == []
        again = (await running.client.get("/dashboard/exchanges")).json()
    assert [one["status"] for one in again["exchanges"]] == [529, 200]
    assert again["last"] == again["exchanges"][-1]["number"]


async def test_the_terminal_finds_it_too():
    yesterday = time.time() - DAY
    failed = {"outcome": "failed", "status": 529, "error": "Overloaded"}
    history = kept_at(history_path("dashboard"))
    await history.add([item(1, ended=yesterday, **failed), item(2, ended=yesterday), item(3)])
    async with gateway(stack()) as running:
        one = await logs_of(running, "--find", "YESTERDAY status:529")
        failures = await logs_of(running, "--find", "cloud", "--failed", "--json")
        both = await logs_of(running, "--find", "yesterday", "-n", "2")
        nothing = await logs_of(running, "--find", "today status:529")
    day = time.strftime("%Y-%m-%d", time.localtime(yesterday))
    assert one.startswith(day)
    assert "529 failed  large -> cloud/large" in one
    assert "$0.50" in one
    assert len(one.splitlines()) == 2  # with its error
    assert json.loads(failures)["request_id"] == "req_1"
    assert both.index("529 failed") < both.index("200 completed")
    assert nothing == "nothing in the history fits\n"


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": {"input": 2**63, "cache_read": 2**62, "cache_creation": 0, "output": 2**40}},
        {"error": "a lone \ud800 surrogate"},
        {"model_asked": "nul \0 and \x1b[2J"},
        {"cache": {"line": {1, 2}}},
    ],
)
async def test_one_odd_exchange_does_not_keep_the_others_out(tmp_path, odd):
    history = kept_at(tmp_path / "h.db")
    await history.add([item(1), item(2, **odd), item(3)])
    kept = await ids(history)
    assert {"req_1", "req_3"} <= set(kept)
    assert (await history.totals(query_of("", failed=False, caller=None)))["model"]


async def test_limited_callers_see_only_their_own():
    async with gateway(stack(), tokens=PHONE) as running:
        await running.ask("x", model="echo/mine")
        body = request_body(model="echo/theirs")
        await running.client.post("/v1/messages", json=body, headers=AS_PHONE)
        mine = (await running.client.get("/dashboard/exchanges")).json()["exchanges"][0]
        theirs = await running.client.get("/dashboard/exchanges", headers=AS_PHONE)
        owner = (await running.client.get("/dashboard/exchanges")).json()
        searched = await found(running, headers=AS_PHONE)
        totals = await found(running, totals=1, headers=AS_PHONE)
        params = {"request": mine["request_id"]}
        peek = await running.client.get("/dashboard/plan", params=params, headers=AS_PHONE)
        state = await running.client.get("/dashboard/state", headers=AS_PHONE)
    for document in (theirs.json(), searched):
        assert [one["model_asked"] for one in document["exchanges"]] == ["echo/theirs"]
    assert [one["name"] for one in totals["caller"]] == ["phone"]
    assert len(owner["exchanges"]) == 2
    assert peek.status_code == 404
    assert state.status_code == 403


async def test_days_and_rows_are_bounded(tmp_path):
    history = kept_at(tmp_path / "h.db", days=2, rows=3)
    now = time.time()
    await history.add([item(0, ended=now - 3 * DAY), item(1, ended=now - DAY)])
    assert await ids(history) == ["req_1"]
    await history.add([item(number) for number in range(2, 6)])
    assert await ids(history) == ["req_5", "req_4", "req_3"]
    with sqlite3.connect(history.path) as db:
        assert db.execute("select count(*) from exchanges").fetchone() == (3,)


async def test_pages_go_back_to_the_oldest(tmp_path):
    history = kept_at(tmp_path / "h.db")
    await history.add([item(number) for number in range(5)])
    before, pages = None, []
    while True:
        page = await history.find(query_of("", failed=False, caller=None), before, 2)
        pages.append([one["request_id"] for one in page.items])
        if not page.more:
            break
        before = page.items[-1]["row"]
    assert pages == [["req_4", "req_3"], ["req_2", "req_1"], ["req_0"]]


@pytest.mark.parametrize("word", ["%", "_", "'", '"', "\\", "100%'or'1'='1", "*"])
async def test_a_word_is_text_and_no_pattern(tmp_path, word):
    history = kept_at(tmp_path / "h.db")
    await history.add([item(1, served_by="x", error="plain"), item(2, error=f"odd {word} text")])
    assert "req_2" in await ids(history, word)
    assert "req_1" not in await ids(history, f"odd {word}")


async def test_totals_are_by_caller_model_and_day_and_an_unknown_cost_is_not_a_zero(tmp_path):
    history = kept_at(tmp_path / "h.db")
    failed = {"outcome": "failed", "status": 529}
    await history.add([item(1), item(2, dollars=None), item(3, caller="phone", **failed)])
    totals = await history.totals(query_of("", failed=False, caller=None))
    by_caller = {one["name"]: one for one in totals["caller"]}
    assert by_caller["owner"] == {
        "name": "owner",
        "requests": 2,
        "prompt": 60,
        "cached": 40,
        "output": 6,
        "failed": 0,
        "dollars": 0.5,
        "unpriced": 1,
    }
    assert (by_caller["phone"]["failed"], by_caller["phone"]["unpriced"]) == (1, 0)
    assert [one["name"] for one in totals["day"]] == [time.strftime("%Y-%m-%d")]
    (only,) = (await history.totals(query_of("", failed=True, caller=None)))["model"]
    assert only["requests"] == 1


async def test_a_very_long_receipt_is_shortened_and_says_so(tmp_path):
    history = kept_at(tmp_path / "h.db")
    entry = {"stage": "send", "plugin": "x", "what": "y" * 2000}
    await history.add([item(1, receipt=[entry] * 300)])
    (only,) = (await history.find(query_of("", failed=False, caller=None), None, 1)).items
    assert only["receipt"][-1]["what"] == "260 more entries were not kept"
    assert history.path.stat().st_size < 2 * MAX_DATA


@pytest.mark.parametrize("damaged", [b"no JSON", b"[]", b"{}", b"", "text", 7])
async def test_a_row_that_cannot_be_read_costs_nothing_but_itself(damaged):
    """Also one that another version of this plugin wrote."""
    async with gateway(stack()) as running:
        for name in ("one", "two", "three"):
            await running.ask("x", model=f"echo/{name}")
        await found(running)
    with closing(sqlite3.connect(history_path("dashboard"))) as db, db:
        db.execute("update exchanges set data = ? where model = 'echo/two'", (damaged,))
    async with gateway(stack()) as running:
        kept = (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
        pages, before = [], ""
        while True:
            answer = await running.client.get(f"/dashboard/history?limit=1{before}")
            page = answer.json()
            pages += page["exchanges"]
            if not page["more"]:
                break
            before = f"&before={page['exchanges'][-1]['row']}"
    assert [one["model_asked"] for one in kept] == ["echo/one", "echo/three"]
    assert [one["model_asked"] for one in pages] == ["echo/three", "echo/one"]


async def test_the_terminal_finds_as_many_as_are_wanted(monkeypatch):
    monkeypatch.setattr("plugway_dashboard._commands.MOST_FOUND", 2)
    async with gateway(stack()) as running:
        for number in range(7):
            await running.ask("x", model=f"echo/m{number}")
        five = await logs_of(running, "--find", "echo", "-n", "5")
        all_of_them = await logs_of(running, "--find", "echo", "-n", "50")
    assert [f"echo/m{number}" in five for number in range(7)] == [False] * 2 + [True] * 5
    assert all_of_them.count("200 completed") == 7


async def test_numbers_go_on_after_a_restart_so_that_nothing_is_shown_twice():
    async with gateway(stack()) as running:
        for _ in range(3):
            await running.ask("x", model="echo/one")
        before = (await running.client.get("/dashboard/exchanges")).json()
    async with gateway(stack()) as running:
        await running.ask("x", model="echo/two")
        answer = await running.client.get(f"/dashboard/exchanges?after={before['last']}")
    after = answer.json()
    assert [one["model_asked"] for one in after["exchanges"]] == ["echo/two"]
    assert after["book"] != before["book"]


@pytest.mark.parametrize(
    "query", ["before=x", "before=-1", "limit=999999", "limit=", "q=" + "a" * 5000]
)
async def test_odd_queries_are_answered(query):
    async with gateway(stack()) as running:
        await running.ask("x", model="echo/one")
        answer = await running.client.get(f"/dashboard/history?{query}")
    assert answer.status_code == 200


async def test_an_explanation_that_fails_costs_nothing_but_itself(caplog):
    class Broken(Plugin[NoOptions]):
        def cache_of(self, request_id):
            raise RuntimeError("a bug")

    async with gateway([Broken(NoOptions(), name="broken"), *stack()]) as running:
        await running.ask("x", model="echo/one")
        assert len((await found(running))["exchanges"]) == 1
        assert len((await running.client.get("/dashboard/exchanges")).json()["exchanges"]) == 1
    assert "`broken` failed to explain" in caplog.text
