"""Where requests go: patterns, aliases, rules, consent, and what is said where they go nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import Exchange, MessagesRequest, ModelInfo, NoRoute
from plugway_router import Router, RouterOptions

pytestmark = pytest.mark.anyio

ZONES = {"here": "local", "box": "local", "anthropic": "vendor", "other": "else"}


def router(zones: Mapping[str, str] = ZONES, **options: Any) -> Router:
    found = Router(RouterOptions.model_validate(options), name="router")
    assert not found.check(zones)
    return found


def exchange_for(model: str, headers: Mapping[str, str], fields: Mapping[str, Any]):
    body = {"model": model, "max_tokens": 1, "messages": [], **fields}
    request = MessagesRequest(orjson.dumps(body), tuple(headers.items()))
    return request, Exchange(request)


async def targets(
    found: Router, model: str, headers: Mapping[str, str] | None = None, **fields: Any
) -> list[str] | None:
    request, exchange = exchange_for(model, headers or {}, fields)
    route = await found.resolve_route(request, exchange)
    return None if route is None else [f"{name}/{model}" for name, model in route.targets]


async def refusal(found: Router, model: str) -> str:
    with pytest.raises(NoRoute) as caught:
        await targets(found, model)
    assert dict(caught.value.headers) == {"x-should-retry": "false"}
    return caught.value.message


# ── models ───────────────────────────────────────────────────────────────────────────────────


async def test_an_exact_id_wins_over_patterns_and_these_go_by_order():
    found = router(
        models={
            "*haiku*": "here/a",
            "claude-*": "here/b",
            "claude-haiku-4-5": "here/c",
            "*": "here/d",
        }
    )
    assert await targets(found, "claude-haiku-4-5") == ["here/c"]
    assert await targets(found, "claude-haiku-3") == ["here/a"]
    assert await targets(found, "claude-opus") == ["here/b"]
    assert await targets(found, "Claude-opus") == ["here/d"]


async def test_an_id_with_brackets_is_taken_literally_too():
    found = router(models={"claude-opus-4-8[1m]": "here/a"})
    assert await targets(found, "claude-opus-4-8[1m]") == ["here/a"]
    assert await targets(found, "claude-opus-4-8m") == ["here/a"]


async def test_targets_may_take_over_the_model_as_it_was_asked_for():
    found = router(models={"*": ["here", "box/*", "here/x/y:z"]})
    assert await targets(found, "qwen/q:3") == ["here/qwen/q:3", "box/qwen/q:3", "here/x/y:z"]
    assert await targets(found, "x/y:z") == ["here/x/y:z", "box/x/y:z"]


async def test_an_id_that_names_its_backend_is_left_to_the_kernel():
    found = router(models={"*": "here/a"}, rules=[{"when": {"model": "*"}, "targets": "here/b"}])
    for model in ("anthropic/box/m", "box/m", "anthropic/anthropic/m", "anthropic/m", "box/a/b"):
        assert await targets(found, model) is None


async def test_an_id_that_names_a_backend_that_is_gone_goes_nowhere_else():
    found = router(
        models={"*": "anthropic/m"}, rules=[{"when": {"agent": "absent"}, "targets": "anthropic/n"}]
    )
    message = await refusal(found, "anthropic/boxx/qwen")
    assert message.startswith("model: anthropic/boxx/qwen. ")
    assert "did you mean `anthropic/box/qwen`?" in message
    found = router(models={"anthropic/gone/*": "here/a", "*": "anthropic/m"})
    assert await targets(found, "anthropic/gone/x") == ["here/a"]


# ── aliases ──────────────────────────────────────────────────────────────────────────────────


async def test_an_alias_is_asked_for_by_its_name_or_its_listed_id():
    found = router(aliases={"fast": ["here/a", "strong"], "strong": "box/b"}, models={"*": "fast"})
    for model in ("fast", "anthropic/router/fast", "router/fast", "anything"):
        assert await targets(found, model) == ["here/a", "box/b"]


async def test_aliases_are_listed_first_with_the_smallest_window_of_their_targets():
    found = router(aliases={"fast": ["here/a", "box/b"], "odd": "here/zzz"})
    models = [
        ModelInfo("anthropic/here/a", context_tokens=100, max_output_tokens=9, state="loaded",
                  capabilities=frozenset({"tools", "images"})),
        ModelInfo("anthropic/box/b", context_tokens=50, capabilities=frozenset({"tools"})),
    ]  # fmt: skip
    listed = await found.list_models(models, exchange_for("x", {}, {})[1])
    assert [info.id for info in listed] == [
        "anthropic/router/fast", "anthropic/router/odd", "anthropic/here/a", "anthropic/box/b",
        "anthropic/here/zzz",
    ]  # fmt: skip
    fast, odd = listed[:2]
    assert (fast.context_tokens, fast.max_output_tokens, fast.state) == (50, 9, "loaded")
    assert (fast.display_name, fast.capabilities) == ("fast (here/a)", {"tools"})
    assert (odd.context_tokens, odd.state) == (0, "unknown")


async def test_targets_that_the_table_names_are_listed_even_where_their_backend_lists_nothing():
    found = router(models={"*": ["here/a", "box/b"]})
    models = [ModelInfo("anthropic/here/a", context_tokens=7), ModelInfo("anthropic/here/c")]
    listed = await found.list_models(models, exchange_for("x", {}, {})[1])
    assert [(info.id, info.extra.get("routed", False)) for info in listed] == [
        ("anthropic/here/a", True), ("anthropic/here/c", False), ("anthropic/box/b", True),
    ]  # fmt: skip
    assert listed[0].context_tokens == 7


# ── rules ────────────────────────────────────────────────────────────────────────────────────

TOOLS = {"tools": [{"name": "t", "input_schema": {}}]}
IMAGE = {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}
SAYS = {"messages": [{"role": "user", "content": "please USE my local one"}]}
LONG = {"messages": [{"role": "user", "content": "x" * 4000}]}
THINKS = {"thinking": {"type": "adaptive"}}
AGENT = {"x-claude-code-agent-id": "explore-1"}
SESSION = {"x-claude-code-session-id": "s-1"}


@pytest.mark.parametrize(
    ("when", "hit", "miss"),
    [
        ({"agent": "present"}, (AGENT, {}), ({}, {})),
        ({"agent": "absent"}, ({}, {}), (AGENT, {})),
        ({"agent": "explore-*"}, (AGENT, {}), ({"x-claude-code-agent-id": "plan"}, {})),
        ({"agent": "*"}, (AGENT, {}), ({}, {})),
        ({"session": "s-1"}, (SESSION, {}), ({"x-claude-code-session-id": "s-2"}, {})),
        ({"session": "present"}, (SESSION, {}), ({}, {})),
        ({"min_tokens": 1000}, ({}, LONG), ({}, {})),
        ({"max_tokens": 1000}, ({}, {}), ({}, LONG)),
        ({"has_tools": True}, ({}, TOOLS), ({}, {})),
        ({"has_tools": False}, ({}, {}), ({}, TOOLS)),
        ({"has_images": True}, ({}, IMAGE), ({}, {})),
        ({"has_thinking": True}, ({}, THINKS), ({}, {})),
        ({"header": {"X-Tier": "gold"}}, ({"x-tier": "gold"}, {}), ({"x-tier": "Gold"}, {})),
        ({"text": "use my LOCAL one"}, ({}, SAYS), ({}, {})),
        ({"model": "ask*", "has_tools": True}, ({}, TOOLS), ({}, {})),
        ({"model": "other*", "has_tools": False}, None, ({}, {})),
    ],
)
async def test_a_rule_holds_where_all_its_conditions_do(when, hit, miss):
    found = router(rules=[{"when": when, "targets": "box/r"}], models={"*": "here/m"})
    if hit:
        assert await targets(found, "asked", hit[0], **hit[1]) == ["box/r"]
    assert await targets(found, "asked", miss[0], **miss[1]) == ["here/m"]


async def test_the_first_rule_that_holds_wins_and_gives_its_reason():
    found = router(
        aliases={"a": "here/a"},
        rules=[
            {"when": {"has_images": True}, "targets": "a", "reason": "no"},
            {"when": {"model": "*"}, "targets": ["a", "box/b"], "reason": "because"},
            {"when": {"has_tools": False}, "targets": "box/c"},
        ],
    )
    request, exchange = exchange_for("a", {}, {})
    route = await found.resolve_route(request, exchange)
    assert route is not None
    assert (route.targets, route.reason) == ((("here", "a"), ("box", "b")), "because")


# ── consent ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        (["here/a", "anthropic/b", "box/c"], ["here/a", "box/c"]),
        (["anthropic/a", "here/b", "other/c"], ["anthropic/a", "here/b"]),
        (["anthropic/a", "anthropic/b"], ["anthropic/a", "anthropic/b"]),
        (["anthropic/a"], ["anthropic/a"]),
        (
            {"targets": ["here/a", "anthropic/b"], "allow_zone_change": True},
            ["here/a", "anthropic/b"],
        ),
        (["willing", "other/c"], ["here/a", "anthropic/b"]),
        (["shy"], ["here/a"]),
        ({"targets": ["shy"], "allow_zone_change": True}, ["here/a", "anthropic/b"]),
    ],
)
async def test_a_fallback_leaves_the_zone_only_with_consent(written, kept):
    found = router(
        models={"*": written},
        aliases={
            "willing": {"targets": ["here/a", "anthropic/b"], "allow_zone_change": True},
            "shy": ["here/a", "anthropic/b"],
        },
    )
    assert await targets(found, "x") == kept


async def test_consent_for_all_can_be_taken_back_for_one():
    no = {"targets": ["here/a", "other/b"], "allow_zone_change": False}
    found = router(allow_zone_change=True, models={"x": no, "*": ["here/a", "other/b"]})
    assert await targets(found, "x") == ["here/a"]
    assert await targets(found, "y") == ["here/a", "other/b"]


async def test_what_is_left_out_stands_in_the_receipt_and_in_the_log(caplog):
    found = router(models={"*": ["here/a", "other/b"]})
    assert "no fallback from `*` in `models` to `other/b`" in caplog.text
    request, exchange = exchange_for("x", {}, {})
    await found.resolve_route(request, exchange)
    assert exchange.receipt[0].what == (
        "no fallback from `*` in `models` to `other/b`: that leaves the zone `local` for `else`, "
        "which needs `allow_zone_change: true`"
    )


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([f"{name}/m{n}" for name in ZONES for n in range(2)]), min_size=1,
             max_size=6, unique=True),
)  # fmt: skip
async def test_without_consent_data_never_goes_to_a_second_vendor(written):
    found = await targets(router(models={"*": written}), "x")
    assert found is not None
    assert found[0] == written[0]
    zones = {ZONES[target.partition("/")[0]] for target in found}
    assert zones <= {ZONES[written[0].partition("/")[0]], "local"}


# ── nothing serves it ────────────────────────────────────────────────────────────────────────


async def test_a_model_that_nothing_serves_is_refused_with_what_exists():
    found = router(aliases={"fast": "here/a"}, models={"gpt-*": "here/a"})
    assert await refusal(found, "fats") == (
        "model: fats. The router has no target for it - did you mean `fast`? There are aliases "
        "`fast`, models `gpt-*`, `anthropic/here/MODEL`, `anthropic/box/MODEL`, "
        "`anthropic/anthropic/MODEL`, `anthropic/other/MODEL`"
    )
    assert await refusal(found, "zzz")
    assert "`fast`" in await refusal(found, "anthropic/router/fsat")


async def test_models_that_were_listed_are_suggested():
    found = router(aliases={"fast": "here/a"})
    infos = [ModelInfo("anthropic/here/qwen3-coder:30b")]
    await found.list_models(infos, exchange_for("x", {}, {})[1])
    message = await refusal(found, "qwen3-codr:30b")
    assert "did you mean `anthropic/here/qwen3-coder:30b`?" in message


async def test_pain_20_without_patterns_the_only_backend_serves_everything():
    found = router({"here": "local"}, aliases={"fast": "here/a"})
    assert await targets(found, "whatever") is None
    assert await targets(found, "fast") == ["here/a"]


# ── mistakes in the configuration ────────────────────────────────────────────────────────────


def flaws(zones: Mapping[str, str] = ZONES, **options: Any) -> dict[str, str]:
    found = Router(RouterOptions.model_validate(options), name="router").check(zones)
    return {".".join(map(str, path)): reason for path, reason in found}


@pytest.mark.parametrize(
    ("options", "place", "reason"),
    [
        ({"models": {"*": ["here/a", "boxx/b"]}}, "models.*.1",
         "unknown backend `boxx`; did you mean `box/b`?"),
        ({"models": {"*": "zzz/b"}}, "models.*", "unknown backend `zzz`; the backends are"),
        ({"models": {"*": "fsat"}, "aliases": {"fast": "here/a"}}, "models.*",
         "unknown backend or alias `fsat`; did you mean `fast`?"),
        ({"models": {"*": "here,a"}}, "models.*", "'here,a' has a comma; write `here/a`"),
        ({"models": {"*": []}}, "models.*", "has no target"),
        ({"models": {"*": "here/"}}, "models.*", "'here/' has no model"),
        ({"models": {"*": "here/q*"}}, "models.*", "mixes a name with `*`"),
        ({"models": {"*": ["here/a", "here/a"]}}, "models.*", "lists a target twice"),
        ({"models": {"*": "here/a", "*haiku*": "here/b"}}, "models.*haiku*", "is never reached"),
        ({"aliases": {"a": "b", "b": "c", "c": "a"}}, "aliases.a",
         "is circular: `a` -> `b` -> `c` -> `a`"),
        ({"aliases": {"a": "a"}}, "aliases.a", "is circular: `a` -> `a`"),
        ({"aliases": {"my-claude": "here/a"}}, "aliases.my-claude", "looks like a Claude model"),
        ({"aliases": {"a/b": "here/a"}}, "aliases.a/b", "should be letters, digits"),
        ({"aliases": {"here": "here/a"}}, "aliases.here", "a backend is also named `here`"),
        ({"aliases": {"x": "here/a"}, "models": {"x": "here/b"}}, "aliases.x", "is in `models` too"),
        ({"rules": [{"when": {"model": "*"}, "targets": ["here/a", "no/b"]}]}, "rules.0.targets.1",
         "unknown backend `no`"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_at_load_and_told_with_its_place(options, place, reason):
    found = flaws(**options)
    assert list(found) == [place]
    assert found[place].startswith(reason) or reason in found[place]


def test_without_a_backend_the_message_says_so():
    assert flaws({}, models={"*": "here/a"})["models.*"].endswith(
        "no backend is configured; add a backend plugin"
    )


NAMES = st.sampled_from(["a", "b", "c", "d", "here/x", "nowhere/x"])


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.lists(NAMES, max_size=3), max_size=4))
def test_aliases_are_refused_or_lead_to_targets(aliases):
    found = Router(RouterOptions.model_validate({"aliases": aliases}), name="router")
    if not found.check(ZONES):
        assert found._table is not None
        assert all(row.targets for row in found._table.rows())
