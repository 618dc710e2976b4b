"""Rules for calls that nobody can be asked about."""

import asyncio
import logging

import pytest

from plugway import Caller, Exchange, MessagesRequest
from plugway_tools import ToolResult, ToolSpec, Verdict
from plugway_tools.loop import Called, Hidden
from plugway_tools.safety import Held, SafeCalls, outside_in

pytestmark = pytest.mark.anyio


class Holder:
    def __init__(self):
        self.ran = []

    async def tools(self):
        return []

    async def run_tool(self, call):
        self.ran.append(call)
        return ToolResult.of("secret contents", is_error=call.name == "broken")


class Judge:
    def __init__(self, kind):
        self.kind = kind

    def judge_call(self, call, spec):
        return Verdict(self.kind, f"because {self.kind}")


def exchange():
    return Exchange(MessagesRequest(b"{}"), caller=Caller("phone", models=("*",)))


class Setting:
    def __init__(self, *kinds, **options):
        self.holder, self.notes = Holder(), []
        judges = [(kind, Judge(kind)) for kind in kinds]
        self.calls = SafeCalls(exchange(), judges, self.notes.append, **options)

    async def run(self, name="t", effect="read", *, outside=False, **held):
        spec = ToolSpec(name, "", {}, effect, outside=outside)
        call = Called(f"{name}{len(self.notes)}", name, {"key": "private words"}, Hidden())
        return await self.calls.run(Held(spec, self.holder, **held), call)


@pytest.mark.parametrize(
    ("kinds", "granted", "runs"),
    [
        ([], False, False),
        ([], True, True),
        (["undecided"], False, False),
        (["undecided"], True, True),
        (["allowed"], False, True),
        (["denied"], True, False),
        (["allowed", "denied"], True, False),
        (["undecided", "allowed"], False, True),
    ],
)
async def test_a_denial_is_final_and_a_grant_decides_what_is_undecided(kinds, granted, runs):
    setting = Setting(*kinds)
    result = await setting.run(granted=granted)
    assert bool(setting.holder.ran) is runs
    assert result.is_error is not runs
    if "denied" in kinds:
        assert "because denied" in result.text


@pytest.mark.parametrize("effect", ["write", "run"])
async def test_after_text_from_outside_nothing_writes_or_runs(effect):
    setting = Setting()
    assert not (await setting.run("do", effect, granted=True)).is_error
    await setting.run("fetch", outside=True, granted=True)
    refused = await setting.run("do", effect, granted=True)
    assert refused.is_error
    assert "`fetch` brought text that others may have written" in refused.text
    assert not (await setting.run("fetch", outside=True, granted=True)).is_error
    assert len(setting.holder.ran) == 3


async def test_a_failed_call_may_have_brought_text_from_outside_too():
    setting = Setting()
    await setting.run("broken", outside=True, granted=True)
    assert (await setting.run("do", "write", granted=True)).is_error


async def test_results_that_the_user_trusts_leave_writing_allowed():
    setting = Setting()
    await setting.run("fetch", outside=True, granted=True, trusted=True)
    assert not (await setting.run("do", "write", granted=True)).is_error


async def test_results_in_the_conversation_are_from_outside():
    turns = [{"role": "user", "content": [{"type": "web_search_tool_result", "content": []}]}]
    assert outside_in([{"role": "user", "content": "hi"}]) == ""
    setting = Setting(outside=outside_in(turns))
    refused = await setting.run("do", "write", granted=True)
    assert "an earlier tool of the conversation brought text" in refused.text


async def test_each_call_is_recorded_once_without_its_contents(caplog):
    caplog.set_level(logging.INFO, "plugway.tools")
    setting = Setting()
    await setting.run("good", granted=True)
    await setting.run("broken", granted=True)
    await setting.run("good", granted=False)
    call = Called("late", "good", None, Hidden())
    setting.calls.record(call, ToolResult.of("no"))
    setting.calls.record(call, ToolResult.of("no"))
    outcomes = [record.outcome for record in caplog.records]
    assert outcomes == ["ran", "failed", "refused", "not run"]
    record = caplog.records[0]
    assert (record.caller, record.tool, record.size) == ("phone", "good", 15)
    assert len(record.arguments) == 16
    assert record.ms >= 0
    assert len(setting.notes) == 4
    assert setting.notes[0].startswith("`good` ran (")
    told = str([vars(one) for one in caplog.records]) + str(setting.notes)
    assert "secret contents" not in told
    assert "private words" not in told


async def test_a_call_that_is_cancelled_is_recorded_as_stopped():
    class Hangs(Holder):
        async def run_tool(self, call):
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    setting = Setting()
    setting.holder = Hangs()
    task = asyncio.ensure_future(setting.run(granted=True))
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert setting.notes[0].startswith("`t` stopped (")
