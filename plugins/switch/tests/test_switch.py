"""Switching inside a conversation, through the whole gateway."""

import anyio
import pytest

from plugins.switch.tests.talk import Client, backend, running
from plugins.switch.tests.test_wish import MENTIONS
from plugway import ModelInfo, Plugin
from plugway.config.config import parse_config
from plugway.testing import build_plugin
from plugway_endpoints import Advice, KeepsConversations
from plugway_router import Router
from plugway_switch import Switch

pytestmark = pytest.mark.anyio

QWEN = ModelInfo("qwen3:8b", context_tokens=65_536)
LLAMA = ModelInfo("llama3.2:3b", context_tokens=32_768)


def backends():
    """`home` of no vendor in particular, two on this machine, one of a vendor."""
    return [
        backend("home", "vendor"),
        backend("ollama", "local", QWEN, LLAMA),
        backend("desk", "local", ModelInfo("gemma-3-4b", context_tokens=8192)),
        backend("cloud", "google", ModelInfo("gemini-2.5-flash", context_tokens=1_000_000)),
    ]


async def test_a_line_switches_from_the_next_turn_on_and_default_goes_back():
    async with running(*backends()) as gate:
        client = Client(gate)
        assert await client.say("hello") == "home/m here"
        said = await client.say("@plugway use qwen3")
        assert said.startswith("This conversation is served by `ollama/qwen3:8b` (local, window")
        assert "\n" not in said
        assert client.last.json()["model"] == "home/m"
        assert await client.say("go on") == "ollama/qwen3:8b here"
        assert "served-by=ollama/qwen3:8b; zone=local" in client.last.headers["plugway-receipt"]
        assert (await client.say("@plugway use default")).startswith("Back to the configured")
        assert await client.say("and now?") == "home/m here"


async def test_the_conversation_is_sent_on_as_it_is():
    stack = backends()
    async with running(*stack, warm=False) as gate:
        client = Client(gate)
        await client.say("hello")
        await client.say("use my qwen3")
        await client.say("go on")
    assert stack[1].seen[0].body["messages"] == client.messages[:-1]


async def test_a_sentence_that_names_nothing_configured_goes_to_the_model():
    async with running(*backends()) as gate:
        client = Client(gate)
        for text in [*MENTIONS[:20], "use my notebook", "try the new layout for this"]:
            assert await client.say(text) == "home/m here" or "@plugway" in text


async def test_sentences_can_be_switched_off():
    async with running(*backends(), sentences=False) as gate:
        client = Client(gate)
        assert await client.say("use my qwen3") == "home/m here"
        assert "served by `ollama/qwen3:8b`" in await client.say("@plugway use qwen3")


async def test_a_name_that_fits_several_is_answered_with_the_choices():
    async with running(*backends()) as gate:
        client = Client(gate)
        said = await client.say("use my local model")
        assert said.startswith(
            "`local` is ambiguous: `ollama/qwen3:8b`, `ollama/llama3.2:3b`, `desk/"
        )
        assert "Nothing was switched" in said
        assert await client.say("hello") == "home/m here"


async def test_a_line_with_an_unknown_name_says_what_there_is_and_what_is_close():
    async with running(*backends()) as gate:
        said = await Client(gate).say("@plugway use olama")
    assert "Unknown endpoint `olama`. Did you mean `ollama/" in said
    assert "`cloud/gemini-2.5-flash`" in said


async def test_a_backend_that_has_listed_no_model_is_named_and_cannot_be_chosen():
    silent = backend("off", "local")
    silent.infos = ()
    async with running(*backends(), silent) as gate:
        client = Client(gate)
        why = "`off` lists no models: run `plugway doctor` to find out why"
        assert f"- {why}" in await client.say("@plugway list")
        assert await client.say("@plugway use off") == f"{why}. Nothing was switched."
        assert await client.say("hello") == "home/m here"


async def test_in_a_turn_of_several_texts_only_a_line_counts_and_results_of_tools_are_kept():
    async with running(*backends()) as gate:
        client = Client(gate)
        call = {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}
        for said, answer in (
            ("use my qwen3", "home/m here"),
            ("@plugway use qwen3\ngo on", "home/m here"),
            ("@plugway use qwen3", "This conversation is served by `ollama/qwen3:8b` (local"),
        ):
            await client.say("read it")
            client.messages[-1]["content"] = [call]
            result = {"type": "tool_result", "tool_use_id": "t1", "content": "@plugway use desk"}
            assert (await client.turn([result, {"type": "text", "text": said}])).startswith(answer)
        assert await client.say("go on") == "ollama/qwen3:8b here"
    kept = [m["content"][0] for m in client.messages if m["content"][0]["type"] == "tool_result"]
    assert len(kept) == 3


async def test_the_list_shows_what_there_is_and_what_serves_now():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("hello")
        said = await client.say("@plugway list")
    assert said.startswith("Now: `home/m`.")
    assert "- `cloud/gemini-2.5-flash` (google, window 1,000,000 tokens)" in said


class Adviser(Plugin):
    """Stands for the plugin `recommend`."""

    def cost(self, target, usage):
        return None

    def facts(self, target):
        return {}

    def advise(self, needs, endpoints, now=""):
        self.asked = (needs.tokens, needs.counted, [e.id for e in endpoints], now)
        return Advice(endpoints[0], "Use the first.", ("`b`: is slow",))


async def test_advice_is_given_from_the_conversation_as_it_is():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("hello")
        said = await client.say("@plugway recommend")
        assert (
            said
            == "The plugin `recommend` is not configured. Add `- use: recommend` under `plugins`."
        )
    adviser = build_plugin(Adviser, "adviser")
    async with running(*backends(), others=[adviser]) as gate:
        client = Client(gate)
        await client.say("hello")
        said = await client.say("@plugway recommend")
    assert said.startswith("Use the first.\n- `b`: is slow\n- `cloud/gemini-2.5-flash` would send")
    assert "add `allow_zones: [google]`" in said
    tokens, counted, ids, now = adviser.asked
    assert "cloud/gemini-2.5-flash" not in ids
    assert (counted, now, ids[0]) == (True, "home/m", "home/m")
    assert tokens > 10


async def test_for_this_serves_one_turn_with_its_tool_calls():
    async with running(*backends(), allow_zones=["google"]) as gate:
        client = Client(gate)
        here = "cloud/gemini-2.5-flash here"
        assert await client.say("try Gemini Flash for this: why does it fail?") == here
        result = {"type": "tool_result", "tool_use_id": "t1", "content": "x"}
        call = {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}
        client.messages[-1]["content"] = [call]
        assert await client.turn([result]) == here
        assert await client.say("thanks") == "home/m here"


async def test_a_line_before_a_task_switches_at_once():
    async with running(*backends()) as gate:
        client = Client(gate)
        assert await client.say("@plugway use qwen3\nfix the test") == "ollama/qwen3:8b here"
        assert await client.say("go on") == "ollama/qwen3:8b here"
        assert await client.say("@plugway use default\nfix it") == "home/m here"
        assert await client.say("go on") == "home/m here"


async def test_another_vendor_needs_the_consent_of_the_configuration():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("hello")
        said = await client.say("@plugway use gemini flash")
        assert "the zone `google`, new to it" in said
        assert "add `allow_zones: [google]` to the options of `switch`" in said
        assert await client.say("hello") == "home/m here"
        said = await client.say("try Gemini Flash for this: hello")
        assert "Nothing was switched" in said


async def test_a_zone_that_has_served_the_conversation_needs_no_consent():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("hello")  # in the zone of a vendor
        await client.say("@plugway use qwen3")
        await client.say("hello")
        assert "served by `home/m`" in await client.say("@plugway use home")
        assert await client.say("hello") == "home/m here"


async def test_a_choice_holds_for_its_model_id_and_its_session():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("@plugway use qwen3")
        assert await Client(gate).say("hello") == "home/m here"
        client.model = "desk/gemma-3-4b"  # after `/model`, and what the client does by itself
        assert await client.say("hello") == "desk/gemma-3-4b here"
        client.model = "home/m"
        assert await client.say("hello") == "ollama/qwen3:8b here"


async def test_subagents_follow_the_session_unless_they_have_a_choice_of_their_own():
    async with running(*backends()) as gate:
        client = Client(gate)
        agent = Client(gate, session=client.session, **{"x-claude-code-agent-id": "a1"})
        await client.say("@plugway use qwen3")
        assert await agent.say("look") == "ollama/qwen3:8b here"
        said = await client.say("@plugway use gemma for agents")
        assert said.startswith("Subagents of this conversation are served by `desk/gemma-3-4b`")
        assert await agent.say("look") == "desk/gemma-3-4b here"
        assert await client.say("hello") == "ollama/qwen3:8b here"


async def test_what_a_subagent_is_asked_is_no_wish():
    async with running(*backends()) as gate:
        agent = Client(gate, **{"x-claude-code-agent-id": "a1"})
        assert await agent.say("@plugway use qwen3") == "home/m here"


async def test_a_question_of_the_client_for_json_is_no_wish():
    form = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    async with running(*backends()) as gate:
        client = Client(gate)
        assert await client.say("@plugway use qwen3", output_config=form) == "home/m here"


async def test_a_client_without_sessions_is_told_so_and_may_use_for_this():
    async with running(*backends()) as gate:
        client = Client(gate, session="none")
        assert "sends no session id" in await client.say("@plugway use qwen3")
        assert await client.say("@plugway use qwen3 for this\nhi") == "ollama/qwen3:8b here"


async def test_an_alias_of_the_router_can_be_chosen_with_its_fallbacks():
    router = build_plugin(
        Router, "router", models={"*": ["home/m"]}, aliases={"fast": ["desk/gemma-3-4b"]}
    )
    async with running(*backends(), others=[router]) as gate:
        client = Client(gate, model="anything")
        assert "`router/fast` (alias" in await client.say("@plugway use fast")
        assert await client.say("hello") == "desk/gemma-3-4b here"
        assert client.last.json()["model"] == "anything"
        assert await client.say("@plugway use fast\nhello") == "desk/gemma-3-4b here"


async def test_an_alias_into_another_vendors_zone_needs_consent_too():
    aliases = {"far": ["cloud/gemini-2.5-flash"]}
    router = build_plugin(Router, "router", models={"*": ["desk/m"]}, aliases=aliases)
    async with running(*backends(), others=[router]) as gate:
        client = Client(gate, model="anything")
        await client.say("@plugway use far")
        assert "the zone `google`, new to it" in await client.say("hello")
        assert client.last.status_code == 400


async def test_a_choice_survives_a_restart(state_folder):
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("@plugway use qwen3")
    file = state_folder / "conversations.db"
    assert file.stat().st_mode & 0o777 == 0o600
    assert b"qwen3" in file.read_bytes()
    async with running(*backends()) as gate:
        client.running = gate
        assert await client.say("hello") == "ollama/qwen3:8b here"
        await client.say("switch back")
    async with running(*backends()) as gate:
        client.running = gate
        assert await client.say("hello") == "home/m here"


async def test_a_choice_of_what_is_gone_says_so_and_goes_nowhere_else():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("@plugway use qwen3")
    home, *_ = backends()
    async with running(home) as gate:
        client.running = gate
        said = await client.say("hello")
        assert "switched to `ollama/qwen3:8b`, which is no longer configured" in said
        assert client.last.headers["x-should-retry"] == "false"
        await client.say("@plugway use default")
        assert await client.say("hello") == "home/m here"


async def test_a_switch_to_this_machine_is_warmed_with_the_prefix_of_the_next_turn():
    stack = backends()
    async with running(*stack) as gate:
        client = Client(gate)
        await client.say("hello")
        await client.say("@plugway use qwen3")
        with anyio.fail_after(5):
            while not stack[1].seen:
                await anyio.sleep(0.01)
        await client.say("go on")
    warm, real = stack[1].seen[0].body, stack[1].seen[1].body
    assert warm["max_tokens"] == 1
    assert warm["messages"][:-1] == real["messages"][:-1]
    assert len(stack[1].seen) == 2
    assert stack[1].seen[0].header("x-claude-code-session-id") == client.session


async def test_warming_can_be_switched_off_and_a_vendor_is_never_warmed():
    stack = backends()
    async with running(*stack, allow_zones=["*"], warm=False) as gate:
        await Client(gate).say("@plugway use qwen3")
    assert not stack[1].seen
    stack = backends()
    async with running(*stack, allow_zones=["*"]) as gate:
        assert "served by `cloud/" in await Client(gate).say("@plugway use gemini flash")
    assert not stack[3].seen


async def test_the_confirmation_counts_as_much_as_the_conversation():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("word " * 4000)
        told = client.last.json()["usage"]["input_tokens"]
        await client.say("@plugway use qwen3")
        assert client.last.json()["usage"]["input_tokens"] == told > 4000


async def test_a_conversation_that_is_too_large_for_the_new_window_is_said_so():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("word " * 16_000)
        assert "tokens, so run `/compact`" in await client.say("@plugway use gemma")


async def test_a_confirmation_is_streamed_where_a_stream_is_wanted():
    async with running(*backends()) as gate:
        headers = {"x-claude-code-session-id": "s"}
        gate.client.headers.update(headers)
        events = await gate.stream("@plugway use qwen3", model="home/m")
    texts = [d["delta"]["text"] for k, d in events if k == "content_block_delta"]
    assert "served by `ollama/qwen3:8b`" in "".join(texts)


async def test_counting_and_explaining_follow_the_choice_and_change_nothing():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("@plugway use qwen3", path="/v1/messages/explain")
        here = client.last.json()
        await client.say("@plugway use qwen3", path="/v1/messages/count_tokens")
        assert await client.say("hello") == "home/m here"
        await client.say("@plugway use qwen3")
        await client.say("hello", path="/v1/messages/explain")
        route = client.last.json()["route"]
    assert here["answered_by"] == "switch"
    assert here["attempts"] == []
    assert here["upstream_request"] is None
    assert route["targets"] == ["ollama/qwen3:8b"]
    assert route["reason"] == "this conversation was switched to `ollama/qwen3:8b`"


async def test_explaining_the_way_back_leaves_the_choice():
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("@plugway use qwen3")
        await client.say("@plugway use default", path="/v1/messages/explain")
        assert client.last.json()["answered_by"] == "switch"
        await client.say("hello", path="/v1/messages/explain")
        route = client.last.json()["route"]
    assert route["targets"] == ["ollama/qwen3:8b"]


async def test_a_broken_file_is_put_aside_and_said(state_folder, caplog):
    state_folder.mkdir(parents=True)
    (state_folder / "conversations.db").write_bytes(b"no database" * 100)
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("@plugway use qwen3")
        assert await client.say("hello") == "ollama/qwen3:8b here"
    assert (state_folder / "conversations.broken").read_bytes().startswith(b"no database")
    assert "is corrupt" in caplog.text


async def test_a_folder_that_cannot_be_written_costs_only_the_memory(state_folder, caplog):
    state_folder.parent.mkdir(parents=True)
    state_folder.write_text("a file where the folder should be")
    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("@plugway use qwen3")
        assert await client.say("hello") == "ollama/qwen3:8b here"
    assert "kept in memory only" in caplog.text


def test_a_zone_that_no_backend_is_in_is_told_and_stops_nothing(caplog):
    plugin = build_plugin(Switch, "switch", allow_zones=["gogle", "*", "local", "anthropic"])
    assert not plugin.check({"a": "google"})
    typo, left_out = caplog.messages
    assert typo == (
        "no backend is in the zone `gogle` of `allow_zones`, so it has no effect - "
        "did you mean `google`?"
    )
    assert left_out.startswith("no backend is in the zone `anthropic`")
    assert left_out.endswith("known zones: `google`, `local`")


async def test_now_is_who_gets_the_next_turn_and_not_who_answered_last():
    table = build_plugin(Router, "router", models={"*": "cloud/gemini-2.5-flash"})
    adviser = build_plugin(Adviser, "adviser")
    async with running(*backends(), others=[table, adviser]) as gate:
        client = Client(gate, model="claude-sonnet-5")

        async def now():
            await client.say("@plugway recommend")
            listed = (await client.say("@plugway list")).partition(" `@plugway use")[0]
            assert listed == f"Now: `{adviser.asked[3]}`."
            return adviser.asked[3]

        assert await now() == "cloud/gemini-2.5-flash"
        await client.say("@plugway use desk")
        assert await now() == "desk/gemma-3-4b"
        assert await client.say("hello") == "desk/gemma-3-4b here"
        await client.say("@plugway use default")
        assert await now() == "cloud/gemini-2.5-flash"
        assert await client.say("try desk for this: hello") == "desk/gemma-3-4b here"
        assert await now() == "cloud/gemini-2.5-flash"
        client.model = "anthropic/ollama/qwen3:8b"
        assert await now() == "ollama/qwen3:8b"
        assert await client.say("hello") == "ollama/qwen3:8b here"


async def test_a_list_says_why_the_next_turn_will_fail():
    async with running(*backends()) as gate:
        said = await Client(gate, model="gone/m").say("@plugway list")
    assert said.startswith("The next turn will fail: model: gone/m. No backend serves it")
    assert "- `cloud/gemini-2.5-flash`" in said


async def test_a_caller_with_a_limited_token_neither_lists_nor_chooses():
    guest = {"name": "guest", "token": "guest-token", "models": ["home/*"]}
    async with running(backend("home"), backend("work"), tokens=[guest]) as gateway:
        client = Client(gateway, authorization="Bearer guest-token")
        for line in ("@plugway list", "@plugway use work", "use my work model"):
            assert await client.say(line) == "home/m here"
        assert await client.say("hello", model="work/m") == ("`guest` may not use model `work/m`")


async def test_what_is_known_of_conversations_outlives_a_reload():
    def kept(gate):
        ((_, keeper),) = gate.app.snapshot.gateway.find(KeepsConversations)
        return keeper, keeper.conversations

    async with running(*backends()) as gate:
        client = Client(gate)
        await client.say("hello")
        before, known = kept(gate)
        await gate.app.reload(parse_config("plugins: [{use: switch}, {use: echo}]"))
        after, same = kept(gate)
        assert after is not before
        assert same is known
        assert same.last(client.session, None).target == "home/m"
        assert gate.app.snapshot.gateway.predecessor is None
