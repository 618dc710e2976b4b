"""The history: what ended is found after a restart, by whom it belongs to, and nothing more. It is
the same in a file, in SQLite and in PostgreSQL."""

import json
import time

import pytest
from going import item, logs_of
from keeping import DAY, found, ids, kept_in, query, stack, statement, yesterday

from plugway import NoOptions, Plugin
from plugway.testing import (
    ScriptedUpstream,
    anthropic_error,
    build_plugin,
    gateway,
    request_body,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard._history import MAX_DATA

pytestmark = pytest.mark.anyio
PHONE = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
AS_PHONE = {"authorization": "Bearer phone-token"}


@pytest.fixture
async def history(place):
    async with kept_in(place) as found:
        yield found


@pytest.fixture
def pruned_each_time(monkeypatch):
    monkeypatch.setattr("plugway_dashboard._history.PRUNE_SECONDS", 0)
    monkeypatch.setattr("plugway_dashboard._history.PRUNED_AT_ONCE", 2)


async def test_yesterdays_failure_is_found_after_a_restart_by_any_of_its_words(place):
    busy = anthropic_error(529, "overloaded_error", "Overloaded")
    async with ScriptedUpstream(otherwise=busy) as upstream:
        cloud = build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url)
        async with gateway([*stack(place), cloud]) as running:
            headers = {"x-claude-code-session-id": "5d6b0b04-1"}
            body = request_body(model="cloud/large")
            await running.client.post("/v1/messages", json=body, headers=headers)
            await running.ask("fine", model="echo/one")
    old = "update exchanges set words = replace(words, 'day:', 'day:1999-12-31 ') where "
    await statement(place, old + "completed = 0")
    async with gateway(stack(place)) as running:
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


async def test_the_terminal_finds_it_too(place):
    failed = {"outcome": "failed", "status": 529, "error": "Overloaded"}
    then = yesterday()
    async with kept_in(place) as history:
        await history.add([item(1, ended=then, **failed), item(2, ended=then), item(3)])
    async with gateway(stack(place)) as running:
        one = await logs_of(running, "--find", "YESTERDAY status:529")
        failures = await logs_of(running, "--find", "cloud", "--failed", "--json")
        both = await logs_of(running, "--find", "yesterday", "-n", "2")
        nothing = await logs_of(running, "--find", "today status:529")
    assert one.startswith(time.strftime("%Y-%m-%d", time.localtime(then)))
    assert "529 failed  large -> cloud/large" in one
    assert "$0.50" in one
    assert len(one.splitlines()) == 2  # with its error
    assert json.loads(failures)["request_id"] == "req_1"
    assert both.index("529 failed") < both.index("200 completed")
    assert nothing == "nothing in the history fits\n"


async def test_odd_exchanges_are_kept_and_keep_no_other_out(history):
    odd = (
        {"usage": {"input": 2**63, "cache_read": 2**62, "cache_creation": 0, "output": 2**70}},
        {"error": "a lone \ud800 surrogate", "caller": "\udfff"},
        {"model_asked": "nul \0 and \x1b[2J", "served_by": None, "request_id": "req\0"},
        {"cache": {"line": {1, 2}}},
        {"error": "\U0001f600 \N{NO-BREAK SPACE}\u2028", "dollars": 1e300},
    )
    endless = {}
    endless["again"] = endless
    lost = [item(99, cache={(1, 2): 3}), item(99, cache=endless)]
    assert await history.add(lost)
    items = [item(n, **one) for n, one in enumerate(odd, 4)]
    assert await history.add([item(1), *items, *lost, item(3)])
    kept = (await history.find(query(), None, 100)).items
    assert len(kept) == 7
    assert {one["request_id"] for one in kept} >= {"req_1", "req_3", "req\0"}
    assert await ids(history, "lone ? surrogate") == ["req_5"]
    assert await ids(history, "nul \0") == await ids(history, "\N{REPLACEMENT CHARACTER}")
    assert len(await ids(history, "nul \0")) == 1
    assert len(await ids(history, "\U0001f600")) == 1
    assert await ids(history, caller="\udfff") == ["req_5"]
    assert (await history.totals(query()))["model"]


async def test_an_explanation_that_fails_costs_nothing_but_itself(caplog):
    class Broken(Plugin[NoOptions]):
        def cache_of(self, request_id):
            raise RuntimeError("a bug")

    async with gateway([Broken(NoOptions(), name="broken"), *stack(None)]) as running:
        await running.ask("x", model="echo/one")
        assert len((await found(running))["exchanges"]) == 1
        assert len((await running.client.get("/dashboard/exchanges")).json()["exchanges"]) == 1
    assert "`broken` failed to explain" in caplog.text


async def test_limited_callers_see_only_their_own(place):
    async with gateway(stack(place), tokens=PHONE) as running:
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


async def test_days_and_rows_are_bounded(place, pruned_each_time):
    now = time.time()
    async with kept_in(place, days=2, rows=3) as history:
        old = [item(0, ended=now - 3 * DAY) for _ in range(5)]
        for number, one in enumerate(old):
            one["request_id"] += f"_{number}"
        await history.add([*old, item(1, ended=now - DAY)])
        assert await ids(history) == ["req_1"]
        await history.add([item(number) for number in range(2, 10)])
        assert await ids(history) == ["req_9", "req_8", "req_7"]
    async with kept_in(place, days=366) as history:
        assert await ids(history) == ["req_9", "req_8", "req_7"]


async def test_what_is_too_old_is_removed_once_a_minute(place, monkeypatch):
    async with kept_in(place, rows=1) as history:
        pruned = []

        async def prune():
            pruned.append(1)

        monkeypatch.setattr(history, "_prune", prune)
        for number in range(3):
            await history.add([item(number)])
    assert pruned == [1]


async def test_what_is_too_old_is_not_found_although_it_is_still_there(place, monkeypatch):
    async with kept_in(place) as history:
        await history.add([item(0, ended=time.time() - 3 * DAY), item(1)])
    async with kept_in(place, days=2) as history:
        assert await ids(history) == ["req_1"]
        assert [one["requests"] for one in (await history.totals(query()))["day"]] == [1]


async def test_pages_go_back_to_the_oldest(history):
    await history.add([item(number) for number in range(5)])
    before, pages = None, []
    while True:
        page = await history.find(query(), before, 2)
        pages.append([one["request_id"] for one in page.items])
        if not page.more:
            break
        before = page.items[-1]["row"]
    assert pages == [["req_4", "req_3"], ["req_2", "req_1"], ["req_0"]]


async def test_what_is_written_twice_is_there_once(history):
    """As when the connection was lost before the database confirmed it."""
    items = [item(1), item(2)]
    for _ in range(2):
        assert await history.add(items)
    assert await ids(history) == ["req_2", "req_1"]


async def test_a_word_is_text_and_no_pattern(history):
    words = ("%", "_", "'", '"', "\\", "100%'or'1'='1", "*", ":word0", "$1", "?", "{}")
    await history.add([item(0, served_by="x", error="plain", request_id="req-0")])
    await history.add([item(n, error=f"odd {word} text") for n, word in enumerate(words, 1)])
    for number, word in enumerate(words, 1):
        assert f"req_{number}" in await ids(history, f"odd {word}")
        assert "req-0" not in await ids(history, word)
        assert "req-0" not in await ids(history, f"odd {word}")


async def test_totals_are_by_caller_model_and_day_and_an_unknown_cost_is_not_a_zero(history):
    failed = {"outcome": "failed", "status": 529}
    await history.add([item(1), item(2, dollars=None), item(3, caller="phone", **failed)])
    totals = await history.totals(query())
    by_caller = {one["name"]: one for one in totals["caller"]}
    assert list(by_caller) == ["owner", "phone"]
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
    (only,) = (await history.totals(query(failed=True)))["model"]
    assert only["requests"] == 1
    assert json.dumps(totals)
    nothing = await history.totals(query("nowhere"))
    assert nothing == {"caller": [], "model": [], "day": []}


async def test_a_very_long_receipt_is_shortened_and_says_so(history):
    entry = {"stage": "send", "plugin": "x", "what": "y" * 2000}
    await history.add([item(1, receipt=[entry] * 300)])
    (only,) = (await history.find(query(), None, 1)).items
    assert only["receipt"][-1]["what"] == "260 more entries were not kept"
    assert len(json.dumps(only)) < MAX_DATA


async def test_a_row_that_cannot_be_read_costs_nothing_but_itself(place):
    """Also one that another version of this plugin wrote."""
    damaged = ("no JSON", "[]", "{}", "")
    async with gateway(stack(place)) as running:
        for name in ("one", *range(len(damaged)), "three"):
            await running.ask("x", model=f"echo/{name}")
        await found(running)
    for number, data in enumerate(damaged):
        where = f"update exchanges set data = :data where model = 'echo/{number}'"
        await statement(place, where, data=data)
    async with gateway(stack(place)) as running:
        kept = (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
        pages, before = [], {}
        while True:
            page = await found(running, limit=1, **before)
            pages += page["exchanges"]
            if not page["more"]:
                break
            before = {"before": page["exchanges"][-1]["row"]}
    assert [one["model_asked"] for one in kept] == ["echo/one", "echo/three"]
    assert [one["model_asked"] for one in pages] == ["echo/three", "echo/one"]


async def test_the_terminal_finds_as_many_as_are_wanted(place, monkeypatch):
    monkeypatch.setattr("plugway_dashboard._commands.MOST_FOUND", 2)
    async with gateway(stack(place)) as running:
        for number in range(7):
            await running.ask("x", model=f"echo/m{number}")
        five = await logs_of(running, "--find", "echo", "-n", "5")
        all_of_them = await logs_of(running, "--find", "echo", "-n", "50")
    assert [f"echo/m{number}" in five for number in range(7)] == [False] * 2 + [True] * 5
    assert all_of_them.count("200 completed") == 7


async def test_numbers_go_on_after_a_restart_so_that_nothing_is_shown_twice(place):
    async with gateway(stack(place)) as running:
        for _ in range(3):
            await running.ask("x", model="echo/one")
        before = (await running.client.get("/dashboard/exchanges")).json()
        await running.ask("x", model="echo/last")  # before it stops, and nobody looks
    async with gateway(stack(place)) as running:
        await running.ask("x", model="echo/two")
        answer = await running.client.get(f"/dashboard/exchanges?after={before['last']}")
    after = answer.json()
    assert [one["model_asked"] for one in after["exchanges"]] == ["echo/last", "echo/two"]
    assert after["book"] != before["book"]


async def test_odd_queries_are_answered(place):
    odd = (
        *("before=x", "before=-1", f"before={10**18 - 1}", "limit=999999", "limit=", "limit=0"),
        *("q=" + "a" * 5000, "q=%00", "q=%ed%a0%80", "q=%F0%9F%98%80", "totals&q=%00%25_:x"),
    )
    async with gateway(stack(place)) as running:
        await running.ask("x", model="echo/one")
        for asked in odd:
            answer = await running.client.get(f"/dashboard/history?{asked}")
            assert answer.status_code == 200, asked
            assert "problem" not in answer.json(), asked
