"""What a request looks like under each preset."""

import copy
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import InvalidRequest, MessagesRequest
from plugway_field_policy import FieldPolicyOptions, Target
from plugway_field_policy._plugin import adapted
from plugway_field_policy._policy import policy_of
from plugway_field_policy._presets import PRESETS

OTHERS = sorted(PRESETS.keys() - {"anthropic"})
LOCAL = ["llama-server", "lmstudio", "ollama", "strict", "vllm"]
MARK = {"cache_control": {"type": "ephemeral"}}
ATTRIBUTION = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=ab12c;"}
SCHEMA = {"type": "object", "properties": {"cache_control": {"type": "string"}}}


def text(value, **more):
    return {"type": "text", "text": value, **more}


def call(id_="toolu_1", **more):
    return {"type": "tool_use", "id": id_, "name": "Read", "input": {"strict": True}, **more}


def result(content, id_="toolu_1", **more):
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


CLIENT = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [text("hi", **MARK)]},
        {"role": "system", "content": "skills: none"},
        {"role": "assistant", "content": [text("on it", citations=None), call(caller={})]},
        {
            "role": "user",
            "content": [
                text("and"),
                result([{"type": "tool_reference", "tool_name": "Grep"}], **MARK),
            ],
        },
    ],
    "system": [ATTRIBUTION, text("You are an agent.", **MARK)],
    "tools": [
        {"name": "Read", "description": "reads", "input_schema": SCHEMA, "strict": True, **MARK},
        {"name": "Grep", "input_schema": SCHEMA, "defer_loading": True, "input_examples": []},
        {"name": "web_search", "type": "web_search_20250305", "max_uses": 5},
        {"name": "mine", "type": "custom", "input_schema": SCHEMA},
    ],
    "max_tokens": 32000,
    "stream": True,
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "service_tier": "auto",
}
BETAS = (
    "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,"
    "effort-2025-11-24,extended-cache-ttl-2025-04-11,unheard-of-2030-01-01"
)


class Backend:
    name = "b"
    zone = "local"


def under(preset, body=CLIENT, betas=BETAS, **wanted):
    options = FieldPolicyOptions(backends={"b": Target(preset=preset, **wanted)})
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = (("anthropic-beta", betas),) if betas else ()
    return adapted(MessagesRequest(raw, headers), policy_of(Backend(), options))


def changed(request):
    return {change.field: change.because for change in request.changes}


@pytest.mark.parametrize("preset", OTHERS)
def test_pain_5_the_attribution_entry_goes_to_nobody_but_anthropic(preset):
    assert "x-anthropic-billing" not in orjson.dumps(under(preset).body["system"]).decode()
    assert "attribution" in changed(under(preset))["system"]


def test_the_attribution_entry_is_known_by_its_place():
    body = CLIENT | {"system": [text("first"), ATTRIBUTION]}
    assert under("strict", body).body["system"] == [text("first"), ATTRIBUTION]


@pytest.mark.parametrize("preset", LOCAL)
def test_local_servers_get_plain_blocks_and_tools(preset):
    body = under(preset).body
    assert body["system"] == [text("You are an agent.")]
    assert b'"cache_control":{"type"' not in orjson.dumps({**body, "tools": []}).replace(
        orjson.dumps(SCHEMA), b""
    )
    extra = {"strict", "type"} if preset in ("vllm", "ollama") else set()
    for tool in body["tools"]:
        assert tool.keys() <= {"name", "description", "input_schema"} | extra
        assert tool["input_schema"] == SCHEMA  # what a schema says is not ours to change
    assert body["messages"][1]["content"][1]["input"] == {"strict": True}
    assert {"context_management", "metadata", "service_tier"}.isdisjoint(body)


def test_pain_23_the_strictest_server_gets_the_core_and_no_more():
    body = under("strict").body
    core = {"model", "messages", "max_tokens", "system", "tools", "stream"}
    assert body.keys() == core
    assert under("strict").header("anthropic-beta") is None


def test_each_change_is_told_with_its_reason():
    told = changed(under("llama-server"))
    assert told["context_management"] == "it does not edit context"
    assert "web_search_20250305" in told["tools"]
    assert "`defer_loading` left out" in told["tools"]
    assert "`tool_reference` block written as text" in told["messages"]
    assert "context-management-2025-06-27" in told["header:anthropic-beta"]


def test_effort_and_format_stay_where_they_are_taken():
    assert under("vllm").body["output_config"] == CLIENT["output_config"]
    kept = under("ollama", keep=("output_config.effort",)).body
    assert kept["output_config"] == {"effort": "high"}
    assert "output_config" not in under("llama-server").body


def test_ollama_is_not_asked_to_think_but_can_be_asked_not_to():
    assert not {"thinking", "output_config"} & under("ollama").body.keys()
    off = {"type": "disabled"}
    assert under("ollama", CLIENT | {"thinking": off}).body["thinking"] == off
    assert under("ollama", keep=("thinking",)).body["thinking"] == CLIENT["thinking"]
    assert "thinking" not in under("strict", CLIENT | {"thinking": off}).body


@pytest.mark.parametrize(
    ("preset", "kept"),
    [
        (
            "compatible",
            "claude-code-20250219,interleaved-thinking-2025-05-14,effort-2025-11-24,"
            "extended-cache-ttl-2025-04-11",
        ),
        ("ollama", None),
        ("llama-server", "interleaved-thinking-2025-05-14"),
        ("strict", None),
    ],
)
def test_a_beta_goes_where_its_half_in_the_body_goes(preset, kept):
    assert under(preset).header("anthropic-beta") == kept


def test_the_betas_of_auto_mode_and_of_thinking_stay_with_their_fields():
    auto = "dangerous-tool-use-2026-09-03,afk-mode-2026-01-31"
    body = CLIENT | {"safeguards": [{"type": "dangerous_tool_use"}]}
    thinking = "thinking-display-updates-2026-08-18,thinking-token-count-2026-05-13"
    request = under("compatible", body, betas=f"{auto},{thinking}")
    assert "safeguards" not in request.body
    assert request.header("anthropic-beta") == thinking
    request = under("anthropic", body, betas=f"{auto},{thinking}")
    assert request.body["safeguards"] == body["safeguards"]
    assert request.header("anthropic-beta") == f"{auto},{thinking}"
    request = under("compatible", body, betas=auto, keep=["safeguards"])
    assert request.body["safeguards"] == body["safeguards"]
    assert request.header("anthropic-beta") == auto


def test_dropping_a_field_for_anthropic_takes_its_beta_along():
    request = under("anthropic", drop=("context_management",))
    expected = {k: v for k, v in CLIENT.items() if k != "context_management"}
    assert request.body == expected
    assert "context-management" not in request.header("anthropic-beta")
    assert "unheard-of-2030-01-01" in request.header("anthropic-beta")


@pytest.mark.parametrize("preset", OTHERS)
@pytest.mark.parametrize(
    "key",
    [
        *("n_discard", "n", "logit_bias", "grammar", "chat_template", "prompt_embeds"),
        *("what_is_this", "because", "headers", "self", "names"),
    ],
)
def test_c_05_keys_of_engines_are_never_passed_on(preset, key):
    request = under(preset, CLIENT | {key: 1})
    assert key not in request.body
    assert key not in orjson.loads(request.raw)
    assert key in changed(request)


def test_c_05_ten_thousand_unknown_keys_take_no_longer_than_they_must():
    began = time.process_time()
    request = under("strict", CLIENT | {f"key{n}": n for n in range(10_000)})
    assert time.process_time() - began < 1
    assert "key9999" not in request.body


def test_server_tools_are_known_by_their_type_not_by_their_name():
    mine = {"name": "web_search", "description": "mine", "input_schema": SCHEMA}
    theirs = {"name": "search", "type": "web_search_20250305"}
    body = CLIENT | {"tools": [mine, theirs]}
    request = under("strict", body)
    assert request.body["tools"] == [mine]
    assert under("strict", body, keep=("server_tools",)).body["tools"] == [mine, theirs]


def test_a_choice_that_forces_a_tool_which_was_left_out_is_refused_by_name():
    mine = {"name": "web_search", "description": "mine", "input_schema": SCHEMA}
    theirs = {"name": "search", "type": "web_search_20250305"}
    body = CLIENT | {"tools": [mine, theirs], "tool_choice": {"type": "tool", "name": "search"}}
    with pytest.raises(InvalidRequest, match=r"tool_choice: it forces `search`.* Use `auto`"):
        under("strict", body)


@pytest.mark.parametrize("kind", ["auto", "none"])
def test_without_any_tool_left_the_choice_goes_too(kind):
    body = CLIENT | {"tools": [CLIENT["tools"][2]], "tool_choice": {"type": kind}}
    assert not {"tools", "tool_choice"} & under("strict", body).body.keys()


def test_without_any_tool_left_a_call_cannot_be_forced():
    body = CLIENT | {"tools": [CLIENT["tools"][2]], "tool_choice": {"type": "any"}}
    with pytest.raises(InvalidRequest, match="it forces a call"):
        under("strict", body)


def test_a_choice_of_a_tool_that_stays_stays():
    choice = {"type": "tool", "name": "Read", "disable_parallel_tool_use": True}
    assert under("strict", CLIENT | {"tool_choice": choice}).body["tool_choice"] == choice


def test_pain_6_a_system_turn_becomes_a_reminder_in_its_place_and_results_come_first():
    turns = under("strict").body["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == [
        text("hi"),
        text("<system-reminder>\nskills: none\n</system-reminder>"),
    ]
    between = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [call()]},
        {"role": "system", "content": [text("note")]},
        {"role": "user", "content": [result("done")]},
    ]
    last = under("strict", CLIENT | {"messages": between}).body["messages"][-1]["content"]
    assert [block["type"] for block in last] == ["tool_result", "text"]


@pytest.mark.parametrize("preset", [*LOCAL, "compatible"])
def test_words_of_the_system_in_a_user_turn_become_a_reminder(preset):
    content = [text("hi"), {"type": "mid_conv_system", "content": [text("Now.")]}]
    (turn,) = under(preset, CLIENT | {"messages": [{"role": "user", "content": content}]}).body[
        "messages"
    ]
    assert turn["content"] == [
        text("hi"),
        text("<system-reminder>\nNow.\n</system-reminder>"),
    ]


def test_system_turns_can_be_kept_or_moved_up():
    kept = under("strict", system_turns="keep").body["messages"]
    assert kept[1] == {"role": "system", "content": "skills: none"}
    moved = under("strict", system_turns="hoist").body
    assert moved["system"] == [text("You are an agent."), text("skills: none")]
    assert [turn["role"] for turn in moved["messages"]] == ["user", "assistant", "user"]
    plain = under("strict", CLIENT | {"system": "plain"}, system_turns="hoist").body
    assert plain["system"] == [text("plain"), text("skills: none")]


def test_a_reminder_is_not_wrapped_twice():
    said = "<system-reminder>\nx\n</system-reminder>"
    turns = [{"role": "system", "content": said}]
    assert under("strict", CLIENT | {"messages": turns}).body["messages"] == [
        {"role": "user", "content": [text(said)]}
    ]


def test_turns_of_one_role_stay_apart_where_that_is_wanted():
    turns = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    body = {"model": "m", "max_tokens": 1, "messages": turns}
    assert under("strict", body, merge_turns=False).body["messages"] == turns
    assert under("strict", body).body["messages"] == [
        {"role": "user", "content": [text("a"), text("b")]}
    ]


def test_what_servers_of_anthropic_said_is_told_in_words():
    found = {
        "type": "web_search_result",
        "title": "T",
        "url": "https://x",
        "encrypted_content": "?",
    }
    content = [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [found]},
        {"type": "compaction", "content": "so far"},
        {"type": "fallback"},
        {"type": "of_tomorrow", **MARK},
    ]
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": content}]
    said = under("strict", CLIENT | {"messages": turns}).body["messages"][1]["content"]
    assert [block.get("text") for block in said] == [
        '[The tool `web_search` was called with {"query":"q"}]',
        "[web_search_tool_result]\nT\nhttps://x",
        "so far",
        "[fallback]",
        None,
    ]
    assert said[-1] == {"type": "of_tomorrow"}


def test_a_found_tool_is_told_in_words():
    (block,) = under("strict").body["messages"][2]["content"][1]["content"]
    assert "`Grep`" in block["text"]


def test_what_reads_the_request_itself_keeps_what_is_documented():
    body = under("translating").body
    assert body == CLIENT | {"system": CLIENT["system"][1:]}


def test_what_the_options_keep_stays():
    keep = ("cache_control", "metadata", "tools.defer_loading", "tool_reference", "attribution")
    body = under("strict", keep=keep).body
    assert body["system"] == CLIENT["system"]
    assert body["metadata"] == {"user_id": "u"}
    assert body["tools"][1]["defer_loading"] is True
    assert body["messages"][2]["content"][1]["content"] == [
        {"type": "tool_reference", "tool_name": "Grep"}
    ]


# ── properties ───────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
TYPES = st.sampled_from(
    ["text", "tool_use", "tool_result", "thinking", "image", "tool_reference", "fallback", "x"]
)
BLOCKS = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"type": TYPES | JSON},
        optional={
            "text": st.text(max_size=4) | JSON,
            "content": JSON,
            "cache_control": JSON,
            "citations": JSON,
        },
    ),
)
TURNS = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "odd"]),
        "content": st.text(max_size=4) | st.lists(BLOCKS, max_size=4),
    },
    optional={"more": JSON},
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(TURNS, min_size=1, max_size=5)},
    optional={
        "system": st.lists(st.just(ATTRIBUTION) | BLOCKS, max_size=3) | JSON,
        "tools": st.lists(st.sampled_from(CLIENT["tools"]) | JSON, max_size=3) | JSON,
        "tool_choice": JSON,
        "output_config": JSON,
        "thinking": JSON,
        "grammar": JSON,
    },
)
PRESET = st.sampled_from(sorted(PRESETS))


@settings(max_examples=300, deadline=None)
@given(BODIES, PRESET, st.sampled_from(["keep", "user-reminder", "hoist", None]))
def test_any_request_is_adapted_once_and_the_same_way_each_time(body, preset, system_turns):
    first = under(preset, body, system_turns=system_turns)
    before = copy.deepcopy(first.body)
    again = under(preset, body, system_turns=system_turns)
    assert again.raw == first.raw
    twice = under(preset, first.raw, first.header("anthropic-beta"), system_turns=system_turns)
    assert twice.raw == first.raw
    assert not twice.changes
    assert first.body == before == orjson.loads(first.raw)


@settings(max_examples=100, deadline=None)
@given(BODIES, PRESET)
def test_without_a_change_the_bytes_are_the_clients(body, preset):
    raw = orjson.dumps(body, option=orjson.OPT_INDENT_2)
    request = under(preset, raw, betas="")
    if not request.changes:
        assert request.raw is raw


@settings(max_examples=50, deadline=None)
@given(BODIES)
def test_anthropic_gets_the_bytes_of_the_client(body):
    raw = orjson.dumps(body, option=orjson.OPT_INDENT_2)
    assert under("anthropic", raw).raw is raw


@settings(max_examples=100, deadline=None)
@given(st.lists(TURNS, min_size=2, max_size=6))
def test_pain_5_a_longer_conversation_begins_as_the_shorter_one_did(turns):
    """So that a server's cached prefix holds: all turns but the last, which may still grow."""
    turns = [t for t in turns if t["role"] in ("user", "assistant")]
    shorter = under("strict", {"model": "m", "messages": turns[:-1]}).body["messages"]
    longer = under("strict", {"model": "m", "messages": turns}).body["messages"]
    assert longer[: max(0, len(shorter) - 1)] == shorter[:-1]
