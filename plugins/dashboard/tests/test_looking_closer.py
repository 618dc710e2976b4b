"""What would happen, what it cost, who is skipped, what is in memory, which tool runs."""

from types import SimpleNamespace

import anyio
import pytest
from going import exchange, shown

from plugway import Attempt, NoOptions, Outcome, Plugin, RequestRejected, Usage, hookimpl
from plugway.testing import (
    PlainBackend,
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_auto_mode import AutoMode
from plugway_dashboard import Dashboard
from plugway_dashboard._costs import cost_of
from plugway_dashboard._words import running_data
from plugway_echo import Echo
from plugway_local_models import Decision, LoadedModel, MemoryReport
from plugway_prices import Catalogue, PriceOptions, Prices
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_toolbelt import Toolbelt
from plugway_tools import ToolResult, ToolSpec

pytestmark = pytest.mark.anyio


def dashboard(**options):
    return build_plugin(Dashboard, "dashboard", **options)


async def kept(running):
    return (await running.client.get("/dashboard/exchanges")).json()["exchanges"]


async def got(running, path, **params):
    answer = await running.client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


# ── what if ──────────────────────────────────────────────────────────────────────────────────

RULES = [
    {"when": {"min_tokens": 2000}, "targets": "large/m", "reason": "it is long"},
    {"when": {"has_images": True}, "targets": "eyes/m"},
    {"when": {"has_thinking": True}, "targets": "thinker/m"},
    {"when": {"has_tools": True}, "targets": "tools/m"},
]


class Counts(PlainBackend):
    """Fails the test if anything is sent or counted."""

    async def send(self, request, attempt):
        raise AssertionError("a plan was sent")

    async def count(self, request, attempt):
        raise AssertionError("a plan was counted")


async def test_a_plan_names_the_target_and_the_reason_and_sends_nothing():
    plugins = [
        dashboard(),
        build_plugin(Router, "router", models={"*opus*": ["up/opus", "two/opus"]}),
        *(build_plugin(Counts, name) for name in ("up", "two")),
    ]
    async with gateway(plugins) as running:
        plan = await got(running, "/dashboard/plan", model="claude-opus-9")
        unknown = await got(running, "/dashboard/plan", model="nobody")
        nothing = await running.client.get("/dashboard/plan")
        gone = await running.client.get("/dashboard/plan?request=req_gone")
        assert await kept(running) == []
    assert [one["target"] for one in plan["attempts"]] == ["up/opus", "two/opus"]
    assert "opus" in plan["reason"]
    assert unknown["attempts"] == []
    assert "nobody" in unknown["error"]
    assert nothing.status_code == 400
    assert gone.status_code == 404


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({}, "small/m"),
        ({"content": "word " * 3000}, "large/m"),
        ({"tools": [{"name": "Read", "input_schema": {"type": "object"}}]}, "tools/m"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}, "thinker/m"),
        (
            {
                "content": [
                    {"type": "text", "text": "see"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"},
                    },
                ]
            },
            "eyes/m",
        ),
    ],
)
async def test_a_request_that_ended_is_planned_again_by_its_shape(fields, target):
    content = fields.pop("content", "x")
    plugins = [
        dashboard(),
        build_plugin(Router, "router", models={"*": ["small/m"]}, rules=RULES),
        *(build_plugin(Echo, name) for name in ("small", "large", "tools", "thinker", "eyes")),
    ]
    async with gateway(plugins) as running:
        messages = [{"role": "user", "content": content}]
        await running.post(request_body(model="any", messages=messages, **fields))
        (ended,) = await kept(running)
        plan = await got(running, "/dashboard/plan", request=ended["request_id"])
    assert ended["served_by"] == target
    assert [one["target"] for one in plan["attempts"]] == [target]


async def test_a_plan_says_which_targets_are_skipped_now_and_the_state_says_for_how_long():
    busy = anthropic_error(500, "api_error", "broken")
    async with ScriptedUpstream(otherwise=busy) as upstream:
        plugins = [
            dashboard(),
            build_plugin(Resilience, "resilience", breaker_failures=1, breaker_open_seconds=60),
            build_plugin(
                Router, "router", models={"*": ["bad/m", "good/m"]}, allow_zone_change=True
            ),
            build_plugin(AnthropicCompatible, "bad", base_url=upstream.url),
            build_plugin(Echo, "good"),
        ]
        async with gateway(plugins) as running:
            assert (await got(running, "/dashboard/state"))["health"] == []
            await running.ask("x", model="any")
            (sick,) = (await got(running, "/dashboard/state"))["health"]
            plan = await got(running, "/dashboard/plan", model="any")
    assert (sick["target"], sick["state"], sick["reason"]) == (
        "bad/m",
        "skipped",
        "it failed too often",
    )
    assert 40 < sick["seconds"] < 75
    assert [one["target"] for one in plan["attempts"]] == ["good/m"]
    assert any("skipped `bad/m`" in note for note in plan["notes"])


# ── costs ────────────────────────────────────────────────────────────────────────────────────

PRICES = {"up/*": PriceOptions(input=3, output=15, cache_read=0.3, cache_write=3.75)}


def outcome(kind="completed", status=200, usage=None, first=0.1):
    return Outcome(kind, status, 1.0, first, usage or Usage())


@pytest.mark.parametrize(
    ("model", "result", "dollars"),
    [
        ("up/m", outcome(usage=Usage(1_000_000, 100_000)), 4.5),
        ("up/m", outcome(usage=Usage(0, 0, 1_000_000, 1_000_000)), 4.05),
        ("up/m", outcome("disconnected", usage=Usage(1000, 1)), 0.003015),
        ("else/m", outcome(usage=Usage(1000, 1)), None),
        ("up/m", outcome(), None),
        ("up/m", outcome("failed", 529, first=None), 0),
        ("up/m", outcome("failed", 504, first=None), None),
        ("up/m", outcome("disconnected", first=None), None),
        (None, outcome("rejected", 404, first=None), 0),
        (None, outcome(), 0),
    ],
)
def test_an_exchange_costs_what_its_tokens_do_and_an_unknown_price_is_none(model, result, dollars):
    ended = exchange()
    if model:
        name, _, rest = model.partition("/")
        ended.served_by = Attempt(Elsewhere(name), rest, exchange=ended)
        said = "answered" if result.status == 200 else f"{result.status} refused with status"
        ended.attempts.append(SimpleNamespace(result=said))
    found = cost_of(Catalogue(PRICES), ended, result, frozenset())
    assert found == (None if dollars is None else pytest.approx(dollars, abs=1e-9))


@pytest.mark.parametrize("model", [" ", "x" * 257, "echo/a\nb", "\u202eecho/a", "echo/\0"])
async def test_a_plan_is_refused_for_what_no_request_may_name(model):
    async with gateway([dashboard(), build_plugin(Echo, "echo")]) as running:
        answer = await running.client.get("/dashboard/plan", params={"model": model})
        body = request_body(model=model)
        asked = await running.client.post("/v1/messages", json=body)
    assert (answer.status_code, asked.status_code) == (400, 400)


@pytest.mark.parametrize(
    ("results", "result", "dollars"),
    [
        (
            ["502 sent an incomplete response", "529 refused"],
            outcome("failed", 529, first=None),
            None,
        ),
        (["429 refused", "502 was cut"], outcome("rejected", 429, first=None), None),
        (["429 refused", "529 refused"], outcome("failed", 529, first=None), 0),
        (["400 refused", "answered"], outcome(usage=Usage(1_000_000)), 3),
        (["answered", "answered"], outcome(usage=Usage(1_000_000)), None),
    ],
)
@pytest.mark.parametrize("zone", ["vendor", "local"])
def test_work_that_no_usage_was_reported_of_makes_the_cost_unknown(results, result, dollars, zone):
    ended, price = (
        exchange(),
        PRICES if zone == "vendor" else {"up/*": PriceOptions(input=0, output=0)},
    )
    ended.served_by = Attempt(Elsewhere("up"), "m", exchange=ended)
    ended.attempts += [SimpleNamespace(result=one) for one in results]
    found = cost_of(Catalogue(price), ended, result, frozenset())
    answered = "answered" in results
    assert found == (0 if zone == "local" and answered else dollars)


class Elsewhere:
    zone = "vendor"

    def __init__(self, name):
        self.name = name


async def test_the_prices_of_the_configuration_are_used_and_the_rest_is_unknown():
    usage = {"input_tokens": 1_000_000, "output_tokens": 0}
    async with ScriptedUpstream(otherwise=sse(anthropic_stream(usage=usage))) as upstream:
        plugins = [
            dashboard(),
            build_plugin(Prices, "prices", models={"up/*": {"input": 2, "output": 4}}),
            *(
                build_plugin(AnthropicCompatible, name, base_url=upstream.url, zone="vendor")
                for name in ("up", "other")
            ),
            build_plugin(Echo, "echo"),
        ]
        async with gateway(plugins) as running:
            for model in ("up/m", "other/m", "echo/m"):
                await running.stream("x", model=model)
            known, unknown, local = await kept(running)
    assert known["dollars"] == pytest.approx(2, abs=0.01)
    assert unknown["dollars"] is None
    assert local["dollars"] == 0


# ── memory ───────────────────────────────────────────────────────────────────────────────────


class Room(Plugin[NoOptions]):
    """Decides about the memory."""

    def loading(self, backend, model, size, note):
        raise AssertionError

    async def obtainable(self, backend, model):
        return 0

    async def report(self):
        models = [("local", LoadedModel("qwen3", 3 << 30, 1, kept="it is in use"))]
        decisions = [Decision(12.0, "unloaded `local/old` for `local/qwen3`")]
        return MemoryReport(8 << 30, 4 << 30, 1 << 30, models, decisions)


async def test_who_holds_the_memory_is_told_and_why_others_had_to_go():
    async with gateway([dashboard(), Room(NoOptions(), name="room")]) as running:
        state = await got(running, "/dashboard/state")
    assert state["memory"] == {"total": 8 << 30, "available": 4 << 30, "reserve": 1 << 30}
    assert state["models"][0]["model"] == "local/qwen3"
    assert state["models"][0]["kept"] == "it is in use"
    assert state["decisions"] == [
        {"age_seconds": 12.0, "what": "unloaded `local/old` for `local/qwen3`"}
    ]


async def test_without_a_plugin_for_the_memory_backends_are_asked_themselves():
    class Holds(PlainBackend):
        zone = "local"

        async def loaded(self):
            if self.name == "bad":
                raise RequestRejected("no list", record="no list")
            return [LoadedModel("qwen3", 3 << 30)]

        async def needs(self, model):
            return 0

        async def load(self, model):
            raise AssertionError

        async def unload(self, model):
            raise AssertionError

    plugins = [dashboard(), *(build_plugin(Holds, name) for name in ("good", "bad"))]
    async with gateway(plugins) as running:
        state = await got(running, "/dashboard/state")
    assert [one["model"] for one in state["models"]] == ["good/qwen3"]
    assert state["problems"] == ["`bad` does not list its models: no list"]
    assert state["memory"] is None


# ── tools and verdicts ───────────────────────────────────────────────────────────────────────


class Slow(Plugin[NoOptions]):
    """A tool that runs until the test lets it end."""

    def __init__(self, gate):
        super().__init__(NoOptions(), name="slow")
        self.gate = gate

    @hookimpl
    def register_routes(self):
        return []

    async def tools(self):
        return [ToolSpec("files_read", "Read", {"type": "object"}, "read", outside=False)]

    async def run_tool(self, call):
        await self.gate.wait()
        return ToolResult.of("done")


def belt(model):
    """A toolbelt whose model is `model`."""
    grants = [{"tools": ["*"], "effects": ["read"]}]
    return [
        dashboard(),
        build_plugin(AutoMode, "auto-mode"),
        build_plugin(Toolbelt, "toolbelt", grants=grants),
        build_plugin(AnthropicCompatible, "up", base_url=model.url, zone="vendor"),
    ]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_tool_that_the_gateway_runs_is_named_while_it_runs(stream):
    gate = anyio.Event()
    usage = {"input_tokens": 1000, "output_tokens": 10}
    turns = [
        anthropic_stream("", tool_calls=[("files_read", {"path": "secret"})], usage=usage),
        anthropic_stream("It says done.", usage=usage),
    ]
    async with ScriptedUpstream(*map(sse, turns)) as upstream:
        prices = build_plugin(Prices, "prices", models={"up/*": {"input": 1, "output": 0}})
        plugins = [*belt(upstream), Slow(gate), prices]
        async with gateway(plugins) as running, anyio.create_task_group() as group:
            body = request_body(model="up/m", stream=stream)
            headers = {"plugway-toolbelt": "on"}
            post = running.client.post
            group.start_soon(lambda: post("/v1/messages", json=body, headers=headers))
            (one,) = await shown(running, lambda found: found and found[0]["phase"] == "tool")
            gate.set()
            await shown(running, lambda found: not found)
            (ended,) = await kept(running)
    assert one["state"].startswith("running the tool `files_read` for 0 s")
    assert [tool["name"] for tool in one["tools"]] == ["files_read"]
    assert "secret" not in str(one)
    assert ended["outcome"] == "completed"
    assert ended["dollars"] == pytest.approx(0.002)  # both requests of the loop
    (verdict,) = ended["verdicts"]
    assert (verdict["tool"], verdict["kind"]) == ("files_read", "undecided")
    assert "secret" not in str(ended)


def test_several_tools_are_counted_and_named():
    from plugway_dashboard._running import Running
    from plugway_tools._progress import running_tool

    going = Running(exchange(), short=False)
    going.begin(Attempt(Elsewhere("up"), "m", exchange=going.exchange))
    with running_tool(going.exchange, "1", "read"), running_tool(going.exchange, "2", "find"):
        said = running_data(going, going.since + 12)
    assert said["state"] == "running 2 tools: `read`, `find` for 12 s"
    assert running_data(going, going.since)["tools"] == []


async def test_the_model_that_is_asked_again_is_waited_for():
    from plugway_dashboard._running import Running
    from plugway_tools._progress import asking

    going = Running(exchange(), short=False)
    going.begin(Attempt(Elsewhere("up"), "m", exchange=going.exchange))
    with asking(going.exchange):
        said = running_data(going, going.since + 5)["state"]
    assert said == "waiting for up/m (asked again, with the results of tools)"


async def test_verdicts_of_auto_mode_are_kept_with_the_exchange_without_the_call():
    calls = [("Bash", {"command": "rm -rf /etc/secret"}), ("Bash", {"command": "ls"})]
    context = {
        "v": 1,
        "permission_mode": "auto",
        "platform": "linux",
        "live_cwd": "/home/dana/shop",
        "home_dir": "/home/dana",
        "trusted_directories": {
            "primary": {"path": "/home/dana/shop", "resolved": ["/home/dana/shop"]},
            "additional": [],
        },
        "rules": {"allow": [], "deny": [], "ask": []},
    }
    tools = [{"name": "Bash", "input_schema": {"type": "object"}}]
    asked = [{"type": "dangerous_tool_use", "classifier_context": context}]
    none = respond(200, {"data": []})
    answer = sse(anthropic_stream("", tool_calls=calls))
    async with ScriptedUpstream(otherwise=lambda r: answer if r.body else none) as upstream:
        up = build_plugin(AnthropicCompatible, "up", base_url=upstream.url, zone="vendor")
        async with gateway([dashboard(), build_plugin(AutoMode, "auto-mode"), up]) as running:
            await running.post(
                request_body(model="up/m", stream=True, tools=tools, safeguards=asked)
            )
            (ended,) = await kept(running)
    assert [one["kind"] for one in ended["verdicts"]] == ["denied", "allowed"]
    assert {one["tool"] for one in ended["verdicts"]} == {"Bash"}
    assert all(one["reason"] for one in ended["verdicts"])
    assert "secret" not in str(ended)
