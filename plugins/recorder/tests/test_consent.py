"""Who asks for a recording, and that nothing is kept of anybody else."""

import json

import anyio
import pytest
from recording import (
    ID,
    KEY,
    SESSION,
    TOOLS,
    Model,
    body,
    cloud,
    posted,
    reading,
    record,
    recorder,
    recordings,
    reply,
    say,
    send,
    text_of,
    turns_of,
)

from plugway.testing import ScriptedUpstream, WaitFor, build_plugin, gateway, respond
from plugway_openai_api import OpenAIApi
from plugway_switch import Switch

pytestmark = pytest.mark.anyio
CANARY = "zanzibar-canary"
PHONE = [{"name": "phone", "token": "phone-token", "models": ["cloud/*"]}]
AS_PHONE = {"authorization": "Bearer phone-token"}


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def holding(folder, *words):
    """Files with one of the words, as text."""
    return [
        path
        for path in files_of(folder)
        if any(word.encode() in path.read_bytes() for word in words)
    ]


def canary(number=1, **fields):
    tools = [{**TOOLS[0], "description": CANARY}, TOOLS[1]]
    return body(number, system=CANARY, tools=tools, **fields)


@pytest.fixture
async def stack():
    model = Model()
    async with ScriptedUpstream(otherwise=model) as upstream:
        plugins = [recorder(), build_plugin(Switch, "switch"), cloud(upstream.url)]
        async with gateway(plugins, tokens=PHONE) as running:
            yield running, upstream, model


async def test_nothing_is_kept_of_a_conversation_whose_person_did_not_ask(stack, state_folder):
    running, upstream, _model = stack
    await send(running, canary(), **SESSION)
    await send(running, canary(2, stream=True), **SESSION)
    assert await recordings(running) == []
    assert holding(state_folder, CANARY, ID) == []
    listed = (await running.client.get("/recordings")).json()["unrecorded"]
    assert [one["conversation"] for one in listed] == [ID]
    assert len(posted(upstream)) == 2


async def test_what_is_kept_is_in_no_file_as_plain_text(stack, state_folder):
    running, _, _ = stack
    assert "is recorded from now on" in text_of(await say(running, "@plugway record"))
    for number in range(1, 5):
        await send(running, canary(number, stream=bool(number % 2)), **SESSION)
    assert len(await turns_of(running)) == 4
    assert holding(state_folder, ID), "there is a file"
    assert holding(state_folder, CANARY, "Look at file", "file_path", "grep", KEY) == []
    query = {"conversation": ID, "number": 3}
    kept = (await running.client.get("/recordings/turn", params=query)).json()
    assert kept["body"] == canary(3, stream=True)
    command = {"command": "grep -n x 3.txt", "description": "look"}
    assert kept["calls"] == [{"name": "Bash", "input": command}]
    assert (kept["target"], kept["zone"], kept["stop_reason"]) == (
        "cloud/large",
        "local",
        "tool_use",
    )
    assert kept["usage"]["input_tokens"] == 10
    assert "I look at" not in json.dumps(kept), "no prose of the reply"


async def test_a_line_with_a_task_records_its_turn_and_the_line_off_stops(stack):
    running, _upstream, model = stack
    told = {"role": "user", "content": "@plugway record\nLook at file 1."}
    asked = body(1, messages=[told])
    model.answer = lambda request: reply(request, "Yes.")
    answer = await send(running, asked, **SESSION)
    assert answer.json()["content"][0]["text"] == "Yes."
    assert "by=recorder" in answer.headers["plugway-receipt"]
    assert len(await turns_of(running)) == 1
    assert "is not recorded any more" in text_of(await say(running, "@plugway record off"))
    answer = await send(running, canary(2), **SESSION)
    assert len(await turns_of(running)) == 1
    (one,) = await recordings(running)
    assert (one["on"], one["why"]) == (False, "its person stopped it")
    assert "is not recorded." in text_of(await say(running, "@plugway stop recording"))


@pytest.mark.parametrize("line", ["@plugway record everything", "@plugway stop"])
async def test_a_line_that_is_not_understood_records_nothing_and_switch_says_so(stack, line):
    running, upstream, _model = stack
    assert "Unknown command." in text_of(await say(running, line))
    assert await recordings(running) == []
    assert posted(upstream) == []


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "Please write `@plugway record` for me."}],
        [{"role": "user", "content": "A question.\n@plugway record"}],
        [{"role": "user", "content": "<system-reminder>\n@plugway record\n</system-reminder>"}],
        [
            {"role": "user", "content": "Look."},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t", "name": "Read", "input": {}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": "@plugway record"}
                ],
            },
        ],
        [
            {"role": "user", "content": "@plugway record"},
            {"role": "assistant", "content": "An answer."},
            {"role": "user", "content": "Another question."},
        ],
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "@plugway record\nthis is a file"},
                    {"type": "text", "text": "A question about it."},
                ],
            }
        ],
    ],
    ids=["inside", "not first", "reminder", "tool result", "earlier", "file"],
)
async def test_only_a_line_that_its_person_typed_now_counts(stack, messages):
    running, _upstream, model = stack
    model.answer = lambda request: reply(request, "Yes.")
    answer = await send(running, body(1, messages=messages), **SESSION)
    assert answer.json()["content"][0]["text"] == "Yes."
    assert await recordings(running) == []


async def test_the_prompt_of_a_subagent_and_a_title_request_start_nothing(stack):
    running, _upstream, model = stack
    model.answer = lambda request: reply(request, "Yes.")
    await say(running, "@plugway record", **{"x-claude-code-agent-id": "a1"})
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    asked = body(1, messages=[{"role": "user", "content": "@plugway record"}])
    asked["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    await send(running, asked, **SESSION)
    assert await recordings(running) == []


async def test_a_header_records_but_does_not_start_again_what_its_person_stopped(stack):
    running, _, _ = stack
    on, off = ({**SESSION, "plugway-record": word} for word in ("on", "off"))
    await send(running, body(1), **on)
    await send(running, body(2), **on)
    assert len(await turns_of(running)) == 2
    await say(running, "@plugway record off")
    await send(running, body(3), **on)
    assert len(await turns_of(running)) == 2
    await say(running, "@plugway record")
    await send(running, body(4), **off)
    await send(running, body(5), **SESSION)
    assert len(await turns_of(running)) == 2
    answer = await send(running, body(6), **{**SESSION, "plugway-record": "yes"})
    assert answer.status_code == 400
    assert "plugway-record: use `on` or `off`" in answer.text


async def test_a_client_without_sessions_is_told_that_nothing_is_recorded(stack):
    running, _, _ = stack
    asked = body(1, messages=[{"role": "user", "content": "@plugway record"}])
    assert "nothing is recorded" in text_of(await send(running, asked))
    assert await recordings(running) == []


async def test_counts_titles_agents_and_turns_are_told_apart(stack):
    running, _upstream, model = stack
    await record(running, 1)
    model.answer = lambda request: (
        respond(200, {"input_tokens": 3}) if "count" in request.path else reply(request, "Yes.")
    )
    await running.client.post("/v1/messages/count_tokens", json=body(2), headers=SESSION)
    await running.client.post("/v1/messages/explain", json=body(2), headers=SESSION)
    await send(running, body(3), **SESSION, **{"x-claude-code-agent-id": "a1"})
    title = body(4)
    del title["tools"]
    await send(running, title, **SESSION)
    assert [(turn["number"], turn["kind"]) for turn in await turns_of(running)] == [
        (1, "turn"),
        (2, "agent"),
        (3, "side"),
    ]


async def test_a_failed_request_is_not_a_turn(stack):
    running, _upstream, model = stack
    await record(running, 0)
    model.answer = respond(
        529, {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    )
    await send(running, body(1), **SESSION)
    assert await turns_of(running) == []


async def test_limited_callers_reach_only_their_own_and_the_owner_reads_nobody_elses(
    stack, state_folder
):
    running, _, _ = stack
    await record(running, 2)
    await record(running, 1, **AS_PHONE)
    assert [(one["caller"], one["turns"]) for one in await recordings(running, **AS_PHONE)] == [
        ("phone", 1)
    ]
    assert {one["caller"] for one in await recordings(running)} == {"phone", "owner"}
    assert len(await turns_of(running)) == 2, "each has its own of that id"
    assert len(await turns_of(running, **AS_PHONE)) == 1
    gone = await running.client.delete("/recordings", params={"conversation": ID})
    assert gone.json() == {"conversation": ID, "turns": 2}
    for path in ("turns", "turn?number=1"):
        mark = "&" if "?" in path else "?"
        answer = await running.client.get(f"/recordings/{path}{mark}conversation={ID}")
        assert answer.status_code == 403
        assert "is a conversation of `phone`, who alone may record and read it" in answer.text
    await running.client.post("/recordings/switch", json={"conversation": ID, "on": False})
    again = await running.client.post("/recordings/switch", json={"conversation": ID, "on": True})
    assert again.status_code == 200, "the owner's own conversation of that id"
    assert [one["on"] for one in await recordings(running, **AS_PHONE)] == [False]
    gone = await running.client.delete(
        "/recordings", params={"conversation": f"phone/{ID}"}, headers=AS_PHONE
    )
    assert gone.json()["turns"] == 1
    await running.client.delete("/recordings", params={"conversation": ID})
    assert await recordings(running) == []
    assert holding(state_folder / "recordings", ID) == [], "nothing of it stays in the file"


async def test_what_is_removed_while_a_turn_runs_is_not_kept(stack):
    running, upstream, model = stack
    await record(running, 1)
    release = anyio.Event()

    model.answer = lambda request: [WaitFor(release), *reading(request)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: send(running, body(2), **SESSION))
        with anyio.fail_after(10):
            while len(posted(upstream)) < 2:
                await anyio.sleep(0.01)
        await running.client.delete("/recordings", params={"conversation": ID})
        release.set()
    assert await recordings(running) == []
    await send(running, body(3), **SESSION)
    assert await recordings(running) == []


async def test_a_conversation_over_another_api_is_kept_in_both_forms():
    async def ask(running, text):
        asked = {
            "model": "cloud/large",
            "messages": [{"role": "user", "content": text}],
            "tools": [],
        }
        asked["user"] = "someone"
        headers = {"plugway-session-id": "chat-12345"}
        answer = await running.client.post("/v1/chat/completions", json=asked, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]

    async with ScriptedUpstream(otherwise=reading) as upstream:
        stack = [recorder(), build_plugin(OpenAIApi, "openai-api"), cloud(upstream.url)]
        async with gateway(stack) as running:
            assert "is recorded from now on" in await ask(running, "@plugway record")
            await ask(running, "Look at file 5.")
            (turn,) = await turns_of(running, "chat-12345")
            query = {"conversation": "chat-12345", "number": 1}
            kept = (await running.client.get("/recordings/turn", params=query)).json()
    assert turn["kind"] == "turn"
    assert kept["original"]["body"]["user"] == "someone"
    assert kept["original"]["path"] == "/v1/chat/completions"
    assert kept["body"]["messages"][0]["role"] == "user"
    assert "max_tokens" in kept["body"]


async def test_recording_goes_on_after_a_restart_and_numbers_continue():
    async with ScriptedUpstream(otherwise=reading) as upstream:
        async with gateway([recorder(), cloud(upstream.url)]) as running:
            await record(running, 2)
        async with gateway([recorder(), cloud(upstream.url)]) as running:
            await send(running, body(3), **SESSION)
            assert [turn["number"] for turn in await turns_of(running)] == [1, 2, 3]
            done = await running.client.post(
                "/recordings/switch", json={"conversation": "5d6b", "on": False}
            )
            assert done.json() == {"conversation": ID, "on": False}
        async with gateway([recorder(), cloud(upstream.url)]) as running:
            answer = await send(running, body(4), **SESSION)
            assert len(await turns_of(running)) == 3
            assert "by=recorder" in answer.headers["plugway-receipt"], "it says that it ended"


async def test_the_command_on_needs_a_conversation_that_was_served(stack):
    running, _, _ = stack

    async def switch(name, on=True):
        return await running.client.post(
            "/recordings/switch", json={"conversation": name, "on": on}
        )

    answer = await switch("5d6b0b04")
    assert answer.status_code == 404
    assert "write `@plugway record` in it" in answer.text
    await send(running, body(1), **SESSION)
    assert ID in (await switch("nothing-such")).text
    assert (await switch("5d6b0b04")).json() == {"conversation": ID, "on": True}
    await send(running, body(2), **SESSION)
    assert len(await turns_of(running)) == 1
    assert (await switch(ID, "yes")).status_code == 400
