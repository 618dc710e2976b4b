"""Replays on scripted models, by the command as a person runs it."""

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx2
import pytest
import typer
from recording import (
    ID,
    SESSION,
    TOOLS,
    asked_number,
    body,
    cloud,
    posted,
    prices,
    reading,
    record,
    recorder,
    replay,
    reply,
    send,
    turns_of,
)

from plugway.config.config import parse_config
from plugway.http.app import App
from plugway.http.server import serving as serving_app
from plugway.http.snapshot import Snapshot
from plugway.testing import Hold, ScriptedUpstream, anthropic_error, gateway, respond
from plugway_recorder._replay import Hopeless, Sender
from plugway_recorder._report import Report

pytestmark = pytest.mark.anyio
PLUGWAY = str(Path(sys.executable).with_name("plugway"))
PRICE = {"input": 1, "output": 10}


def other(number, answer):
    """A model that differs in one turn."""

    def answers(request):
        if request.method == "POST" and asked_number(request) == number:
            return answer(request) if callable(answer) else answer
        return reading(request)

    return answers


async def replayed_on(model, folder, *words, turns=4, code=0):
    """Record on one model, replay on another in the same zone."""
    async with (
        ScriptedUpstream(otherwise=reading) as first,
        ScriptedUpstream(otherwise=model) as second,
        gateway([recorder(), cloud(first.url), cloud(second.url, "small")]) as running,
    ):
        await record(running, turns)
        done, report = await replay(
            running, folder, ID, "--on", "small/m", "--yes", *words, code=code
        )
        return done, report["targets"][0], posted(second)


async def test_fifty_turns_on_the_same_model_would_all_have_worked(tmp_path):
    async with ScriptedUpstream(otherwise=reading) as upstream:
        async with gateway([recorder(), prices(), cloud(upstream.url)]) as running:
            await record(running, 50)
            done, report = await replay(running, tmp_path, "5d6b", "--on", "cloud/large", "--yes")
        before, again = posted(upstream)[:50], posted(upstream)[50:]
    assert "50 of 50 turns would have worked on `cloud/large`." in done.stdout
    assert report["targets"][0]["worked"] == report["targets"][0]["judged"] == 50
    assert [asked_number(request) for request in again] == list(range(1, 51))
    assert [r.json for r in before] == [r.json for r in again], "each is sent as it was"


async def test_a_small_window_is_named_with_the_first_turn_that_does_not_fit(tmp_path):
    too_long = "prompt is too long: 9000 tokens > 8000 maximum"

    def small(request):
        if request.method == "POST" and asked_number(request) >= 7:
            return anthropic_error(400, "invalid_request_error", too_long)
        return reading(request)

    done, found, _ = await replayed_on(small, tmp_path, turns=10)
    assert "6 of 10 turns would have worked on `small/m`." in done.stdout
    assert "The first that would not: turn 7 (did not fit the window: " in done.stdout
    page = next(tmp_path.glob("replay-*.md"))
    assert "- Turn 7, did not fit the window: " in page.read_text()
    assert too_long in page.read_text()
    assert {turn["difference"]["kind"] for turn in found["turns"][6:]} == {"window"}
    assert stat.S_IMODE(page.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("calls", "stop", "kind", "text"),
    [
        ([], None, "tool", "it called no tool instead of `Read`"),
        ([("Bash", {"command": "cat 2.txt"})], None, "tool", "`Bash` instead of `Read`"),
        ([("Read", {"path": "2.txt"})], None, "invalid", "file_path"),
        ([("Read", {"file_path": "/project/20.txt"})], None, "arguments", "'/project/20.txt' instead of"),
        ([("Read", {"file_path": "2.txt", "limit": 3})], None, "arguments", "`limit` is 3 instead of missing"),
        ([("Read", {"file_path": "/project/./2.txt"})], None, "", ""),
        ([("Read", {"file_path": "2.txt"})], "max_tokens", "stop", "`max_tokens` instead of `tool_use`"),
    ],
)  # fmt: skip
async def test_what_a_model_does_otherwise_is_named(calls, stop, kind, text, tmp_path):
    def made(request):
        return reply(request, "Other words.", calls, stop_reason=stop)

    done, found, _ = await replayed_on(other(2, made), tmp_path)
    assert f"{4 - bool(kind)} of 4 turns" in done.stdout
    difference = found["turns"][1]["difference"]
    assert (difference or {}).get("kind", "") == kind
    assert text in (difference or {}).get("text", "")


async def test_a_limit_is_retried_as_clients_do_and_is_no_mistake_of_the_model(tmp_path):
    limit = anthropic_error(429, "rate_limit_error", "Slow down", {"retry-after": "0"})
    left = [limit, limit]

    def limited(request):
        if request.method == "POST" and asked_number(request) == 2 and left:
            return left.pop()
        if request.method == "POST" and asked_number(request) == 3:
            return anthropic_error(529, "overloaded_error", "Overloaded", {"retry-after": "0"})
        return reading(request)

    done, found, sent = await replayed_on(limited, tmp_path)
    assert "3 of 3 turns would have worked on `small/m`. 1 could not be measured" in done.stdout
    assert "(turn 3: 529 after 5 tries" in done.stdout
    assert [turn["retries"] for turn in found["turns"]] == [0, 2, 4, 0]
    assert found["turns"][2]["why"].startswith("529 after 5 tries: ")
    assert len(sent) == 1 + 3 + 5 + 1


async def test_a_target_that_nobody_can_use_stops_the_replay_at_once(tmp_path):
    refused = anthropic_error(401, "authentication_error", "invalid key")
    done, found, sent = await replayed_on(lambda _: refused, tmp_path, code=1)
    assert "0 of 0 turns" in done.stdout
    assert "4 were not sent: " in done.stdout
    assert len(sent) == 1
    assert found["turns"] == []


async def test_a_target_that_stays_busy_is_given_up_and_is_not_waited_for_in_vain(tmp_path):
    """A client would not wait for an hour either."""
    busy = anthropic_error(429, "rate_limit_error", "Come back", {"retry-after": "3600"})

    def limited(request):
        return busy if request.method == "POST" and asked_number(request) > 1 else reading(request)

    done, found, sent = await replayed_on(limited, tmp_path, turns=6)
    assert "1 of 1 turn would have worked on `small/m`. 3 could not be measured" in done.stdout
    assert "(turn 4: 429: `small`: Come back)" in done.stdout
    assert "2 were not sent: 3 in a row could not be measured." in done.stdout
    assert len(sent) == 4
    assert [turn["retries"] for turn in found["turns"]] == [0, 0, 0, 0]


async def test_a_replay_of_which_nothing_could_be_measured_has_failed(tmp_path):
    broken = anthropic_error(429, "rate_limit_error", "Come back", {"retry-after": "3600"})
    done, _, _ = await replayed_on(lambda _: broken, tmp_path, code=1)
    assert "0 of 0 turns would have worked on `small/m`. 3 could not be measured" in done.stdout


async def test_a_folder_that_cannot_be_written_is_found_before_anything_is_sent(tmp_path):
    async with (
        ScriptedUpstream(otherwise=reading) as upstream,
        gateway([recorder(), cloud(upstream.url)]) as running,
    ):
        await record(running, 1)
        sent = len(posted(upstream))
        blocked = tmp_path / "file"
        blocked.write_text("")
        for folder in (blocked, tmp_path / "missing"):
            words = (ID, "--on", "cloud/large", "--yes")
            done, _ = await replay(running, tmp_path, *words, code=1, out=folder)
            assert f"cannot write the report to `{folder}`" in done.stderr
        assert len(posted(upstream)) == sent


def test_two_reports_of_one_second_are_kept_both(tmp_path):
    report = Report(ID, [], [], 0, "1", 0.0)
    written = {path for _ in range(3) for path in report.write(tmp_path)}
    assert len(written) == 6
    assert written == set(tmp_path.iterdir())


async def test_a_gateway_that_is_restarted_in_the_middle_is_waited_for():
    """Each request is sent again, as clients do; without a gateway the replay ends."""
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 1:
            await started.enter_async_context(serving_app(app, port=address.port))

    async with ScriptedUpstream(otherwise=reading) as upstream, AsyncExitStack() as started:
        async with gateway([recorder(), cloud(upstream.url)]) as running:
            await record(running, 1)
            assert len(await turns_of(running)) == 1
            address = httpx2.URL(running.url)
        config = parse_config("server: {token: test-token}\nplugins: []", "test")
        app = App(config, Snapshot(config, [recorder(), cloud(upstream.url)]))
        headers = {"authorization": "Bearer test-token"}
        async with httpx2.AsyncClient(base_url=address, headers=headers, trust_env=False) as client:
            sender = Sender(client, "cloud/large", ID, "replay-1", sleep=sleep)
            turn = await sender.turn(1)
            assert waits == [1]
            assert (await sender.send(1, turn)).result == "same"
            await started.aclose()
            with pytest.raises(Hopeless, match="no gateway answers"):
                await sender.turn(1)
            with pytest.raises(Hopeless, match="no gateway answers"):
                await sender.send(1, turn)


async def test_no_tool_is_run_or_offered_to_a_server_that_would_run_it(tmp_path):
    search = {"type": "web_search_20250305", "name": "web_search"}
    async with (
        ScriptedUpstream(otherwise=reading) as upstream,
        gateway([recorder(), cloud(upstream.url)]) as running,
    ):
        await record(running, 0)
        await send(running, body(1, tools=[*TOOLS, search]), **SESSION)
        done, report = await replay(running, tmp_path, ID, "--on", "cloud/large", "--yes")
        before, now = posted(upstream)
    assert before.json["tools"] == [*TOOLS, search]
    assert now.json["tools"] == TOOLS
    assert "1 of 1 turn would" in done.stdout
    assert report["targets"][0]["turns"][0]["left_out"] == ["web_search"]


async def test_without_a_terminal_nothing_is_sent_unless_the_person_says_yes(tmp_path):
    async with (
        ScriptedUpstream(otherwise=reading) as first,
        ScriptedUpstream(otherwise=reading) as vendor,
    ):
        stack = [
            recorder(),
            prices(**{"vendor/m": PRICE}),
            cloud(first.url),
            cloud(vendor.url, "vendor", zone="elsewhere"),
        ]
        async with gateway(stack) as running:
            await record(running, 3)
            words = (ID, "--on", "vendor/m", "--on", "cloud/large")
            done, _ = await replay(running, tmp_path, *words, code=1)
            assert posted(vendor) == []
            assert "nothing was sent: add `--yes`" in done.stderr
            assert "3 turns of 5d6b0b04" in done.stderr
            assert (
                "this conversation has not been in the zone elsewhere (only: local)" in done.stderr
            )
            assert (
                "vendor/m (zone elsewhere): 30 tokens in, about 15 out; about $0.00018"
                in done.stderr
            )
            assert "cloud/large (zone local): 30 tokens in, about 15 out; free" in done.stderr
            done, report = await replay(running, tmp_path, *words, "--yes")
            assert [one["worked"] for one in report["targets"]] == [3, 3]
            assert report["targets"][0]["nano_dollars"] == 3 * (10 * 1_000 + 5 * 10_000)
            assert (
                "| would have worked | 3 of 3 | 3 of 3 |" in next(tmp_path.glob("*.md")).read_text()
            )
            done, _ = await replay(running, tmp_path, *words, code=1)
            assert "has not been in the zone" not in done.stderr, "now it has"


async def test_an_unknown_price_is_said_to_be_unknown(tmp_path):
    async with ScriptedUpstream(otherwise=reading) as upstream:
        stack = [recorder(), cloud(upstream.url), cloud(upstream.url, "vendor", zone="elsewhere")]
        async with gateway(stack) as running:
            await record(running, 1)
            done, report = await replay(running, tmp_path, ID, "--on", "vendor/m", "--yes")
    assert "the cost is unknown" in done.stderr
    assert "no price is known for `vendor/m`" in done.stderr
    assert report["targets"][0]["nano_dollars"] is None


@pytest.mark.parametrize("declined", ["zone", "requests"])
async def test_a_person_is_asked_for_the_zone_and_for_the_requests(declined, tmp_path, monkeypatch):
    questions = []

    def confirm(question, **_):
        questions.append(question)
        return declined not in question

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    async with ScriptedUpstream(otherwise=reading) as upstream:
        stack = [recorder(), cloud(upstream.url), cloud(upstream.url, "vendor", zone="elsewhere")]
        async with gateway(stack) as running:
            await record(running, 1)
            await replay(running, tmp_path, ID, "--on", "vendor/m", code=1)
        assert len(posted(upstream)) == 1
    assert questions[0] == "Send this conversation to the zone elsewhere?"
    assert questions[1:] == ([] if declined == "zone" else ["Send these requests?"])


async def test_ctrl_c_keeps_what_there_is(tmp_path):
    held = other(3, [Hold()])
    async with (
        ScriptedUpstream(otherwise=reading) as first,
        ScriptedUpstream(otherwise=held) as second,
        gateway([recorder(), cloud(first.url), cloud(second.url, "small")]) as running,
    ):
        await record(running, 4)
        config = tmp_path / "config.yaml"
        text = f"server: {{port: {running.port}, token: {{$env: REPLAY_TOKEN}}}}\nplugins: []\n"
        config.write_text(text)
        env = {"PATH": os.defpath, "HOME": str(tmp_path), "REPLAY_TOKEN": running.token}
        words = ["replay", ID, "--on", "small/m", "--yes", "--config", config, "--out", tmp_path]
        process = await anyio.open_process(
            [PLUGWAY, *map(str, words)], env=env, stdin=subprocess.DEVNULL
        )
        with anyio.fail_after(30):
            while len(posted(second)) < 3:
                await anyio.sleep(0.02)
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(20):
            said = (await process.stdout.receive()).decode()
            assert await process.wait() == 130
        await process.aclose()
    assert "2 of 2 turns would have worked on `small/m`. 2 were not sent: interrupted." in said
    (data,) = tmp_path.glob("replay-*.json")
    assert len(json.loads(data.read_text())["targets"][0]["turns"]) == 2


async def test_turns_can_be_chosen_and_what_is_not_there_is_named(tmp_path):
    async with (
        ScriptedUpstream(otherwise=reading) as upstream,
        gateway([recorder(), cloud(upstream.url)]) as running,
    ):
        await record(running, 3)
        words = (ID, "--on", "cloud/large", "--yes", "--turns", "1,3")
        done, report = await replay(running, tmp_path, *words)
        assert "2 of 2 turns would" in done.stdout
        assert [turn["number"] for turn in report["targets"][0]["turns"]] == [1, 3]
        for words, why in (
            ((ID, "--on", "nowhere/m"), "`nowhere/m` is not a target; write `cloud/MODEL`"),
            (("abcd", "--on", "cloud/m"), f"there is no recording `abcd`; there are `{ID}`"),
            ((ID, "--on", "cloud/m", "--turns", "9"), "has no such turns"),
        ):
            done, _ = await replay(running, tmp_path, *words, "--yes", code=1)
            assert why in done.stderr
        words = (ID, "--on", "cloud/m", "--turns", "x", "--yes")
        done, _ = await replay(running, tmp_path, *words, code=2)
        assert "not a turn or a range" in done.stderr


async def test_a_replay_is_not_recorded_and_lines_in_it_are_not_obeyed(tmp_path):
    from plugway.testing import build_plugin
    from plugway_switch import Switch

    def model(request):
        listed = {"data": [{"id": "x", "type": "model"}], "has_more": False}
        return reply(request, "Done.") if request.method == "POST" else respond(200, listed)

    async with ScriptedUpstream(otherwise=model) as upstream:
        stack = [recorder(), build_plugin(Switch, "switch"), cloud(upstream.url)]
        async with gateway(stack) as running:
            told = "@plugway record\nFix the bug."
            await send(running, body(1, messages=[{"role": "user", "content": told}]), **SESSION)
            this = "@plugway use cloud/x for this\nFix it."
            await send(running, body(1, messages=[{"role": "user", "content": this}]), **SESSION)
            assert [turn["target"] for turn in await turns_of(running)] == [
                "cloud/large",
                "cloud/x",
            ]
            done, _ = await replay(running, tmp_path, ID, "--on", "cloud/y", "--yes")
            assert "2 of 2 turns would" in done.stdout
            assert len(await turns_of(running)) == 2
        assert [r.json["model"] for r in posted(upstream)] == ["large", "x", "y", "y"]


async def test_a_credential_is_redacted_on_both_sides(tmp_path):
    secret = "Bearer abcdefghijklmnop"

    def curls(request):
        if request.method == "GET":
            return reading(request)
        return reply(request, "", [("Bash", {"command": f"curl -H 'Authorization: {secret}' x"})])

    async with (
        ScriptedUpstream(otherwise=curls) as upstream,
        gateway([recorder(), cloud(upstream.url)]) as running,
    ):
        await record(running, 1)
        (turn,) = await turns_of(running)
        done, _ = await replay(running, tmp_path, ID, "--on", "cloud/large", "--yes")
        query = {"conversation": ID, "number": 1}
        kept = (await running.client.get("/recordings/turn", params=query)).text
    assert turn["redacted"] == 1
    assert "1 of 1 turn would" in done.stdout
    assert "abcdefghijklmnop" not in kept
