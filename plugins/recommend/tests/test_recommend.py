"""Which endpoint is recommended, and what is said about it."""

import time

import anyio
import pytest

from plugins.switch.tests.talk import Client, backend
from plugway import ModelInfo, Outcome, Usage
from plugway.testing import build_plugin, gateway
from plugway_endpoints import Advises, Needs, endpoints_of
from plugway_recommend import Recommend

pytestmark = pytest.mark.anyio

ZONES = {"ollama": "local", "cloud": "google", "office": "anthropic"}
SMALL = ModelInfo("anthropic/ollama/small", context_tokens=8192)
BIG = ModelInfo("anthropic/ollama/big", context_tokens=65_536)
FLASH = ModelInfo("anthropic/cloud/flash", context_tokens=1_000_000)
SONNET = ModelInfo("anthropic/office/sonnet", context_tokens=200_000)
PRICES = {"cloud/*": {"input": 0.3, "output": 2.5}, "office/*": {"input": 3, "output": 15}}


def adviser(**speeds):
    made = build_plugin(Recommend, "recommend", prices=PRICES)
    made.check(ZONES)
    for target, (prefill, decode) in speeds.items():
        fresh, out = 1000, 100
        first = fresh / prefill
        outcome = Outcome("completed", 200, first + out / decode, first, Usage(fresh, out))
        target = target.replace("_", "/")
        made.speeds.learn(target, outcome, streamed=True, now=time.time())
    return made


def advice(made, needs, *infos, now=""):
    return made.advise(needs, endpoints_of(infos or (SMALL, BIG, FLASH, SONNET), ZONES), now)


def test_this_machine_is_recommended_while_it_is_fast_enough():
    made = adviser(ollama_big=(3000, 40), cloud_flash=(9000, 150))
    said = advice(made, Needs(31_000, counted=True, tools=True))
    assert said.endpoint.id == "ollama/big"
    assert said.reason == (
        "Use `ollama/big`: a conversation of 31,000 tokens with tools fits in its window of 65,536; "
        "a reply takes about 23 s (3,000 tokens/s in, 40 out) and it costs nothing; "
        "`cloud/flash` would cost $0.01."
    )
    assert said.others[0].startswith("`cloud/flash`: a reply takes about 6.8 s")
    assert "`ollama/small`: its window of 8,192 tokens is too small for 31,000" in said.others


def test_a_slow_machine_is_passed_over_for_the_cheapest_that_is_fast_enough():
    made = adviser(ollama_big=(200, 5), cloud_flash=(9000, 150), work_sonnet=(9000, 90))
    said = advice(made, Needs(31_000))
    assert said.endpoint.id == "cloud/flash"
    assert "about 31,000 tokens fits" in said.reason
    assert "would take" in said.reason


def test_where_all_are_slow_the_fastest_is_recommended():
    made = adviser(ollama_big=(200, 5), cloud_flash=(600, 10))
    said = advice(made, Needs(31_000), BIG, FLASH)
    assert said.endpoint.id == "cloud/flash"
    assert "no other endpoint is known to be faster" in said.reason


def test_what_was_never_measured_comes_before_what_is_known_to_be_slow():
    said = advice(adviser(ollama_big=(200, 5)), Needs(31_000), BIG, FLASH)
    assert said.endpoint.id == "cloud/flash"
    assert "would cost" not in said.reason
    said = advice(adviser(), Needs(31_000), BIG, FLASH)
    assert said.endpoint.id == "ollama/big"


def test_what_serves_the_conversation_has_most_of_it_in_its_cache():
    made = adviser(ollama_big=(500, 40), cloud_flash=(9000, 150))
    assert advice(made, Needs(50_000), BIG, FLASH).endpoint.id == "cloud/flash"
    said = advice(made, Needs(50_000), BIG, FLASH, now="ollama/big")
    assert said.reason.startswith("Stay with `ollama/big`: ")


def test_needs_that_an_endpoint_does_not_have_put_it_out():
    blind = ModelInfo(
        "anthropic/ollama/blind", context_tokens=65_536, capabilities=frozenset({"tools"})
    )
    said = advice(adviser(), Needs(100, images=True), blind, FLASH)
    assert said.endpoint.id == "cloud/flash"
    assert "does not support images" in said.others[-1]


def test_thinking_decides_between_equals_and_its_lack_is_said():
    able = {"tools", "thinking"}
    plain = ModelInfo("anthropic/ollama/a", context_tokens=9000, capabilities=frozenset({"tools"}))
    thinker = ModelInfo("anthropic/ollama/b", context_tokens=9000, capabilities=frozenset(able))
    assert advice(adviser(), Needs(10, thinking=True), plain, thinker).endpoint.id == "ollama/b"
    assert advice(adviser(), Needs(10), plain, thinker).endpoint.id == "ollama/a"
    said = advice(adviser(), Needs(10, thinking=True), plain)
    assert "it does not support thinking, which the client requests" in said.reason


def test_an_endpoint_that_fails_is_out_for_a_while():
    made = adviser(ollama_big=(3000, 40))
    for _ in range(2):
        failed = Outcome("failed", 502, 1.0)
        made.speeds.learn("ollama/big", failed, streamed=True, now=time.time())
    said = advice(made, Needs(100), BIG, FLASH)
    assert said.endpoint.id == "cloud/flash"
    assert "its last 2 requests failed" in said.others[-1]


def test_where_nothing_fits_that_is_said():
    said = advice(adviser(), Needs(5_000_000))
    assert said.endpoint is None
    assert said.reason == "No configured endpoint fits a conversation of about 5,000,000 tokens."
    assert len(said.others) == 4


def test_what_is_free_and_passed_over_for_its_unknown_window_is_said():
    local = ModelInfo("anthropic/ollama/m")
    cloud = ModelInfo("anthropic/other/x", context_tokens=200_000)
    made = build_plugin(Recommend, "recommend")
    zones = {"ollama": "local", "other": "vendor"}
    made.check(zones)
    said = made.advise(Needs(31_000), endpoints_of((local, cloud), zones))
    assert said.endpoint.id == "other/x"
    assert "`ollama/m` costs nothing, but its window is unknown" in said.reason
    assert "under `windows` of `context-guard`" in said.reason
    assert said.others == ("`ollama/m`: it costs nothing; its window is unknown",)


@pytest.mark.parametrize(
    ("fresh", "words"), [(50, "after about 0.5 s"), (1000, "at 2,000 tokens/s")]
)
def test_short_answers_tell_when_the_first_words_come(fresh, words):
    made = adviser()
    for _ in range(13):
        outcome = Outcome("completed", 200, 0.51, 0.5, Usage(fresh, 3))
        made.speeds.learn("ollama/big", outcome, streamed=True, now=time.time())
    said = advice(made, Needs(31_000), BIG)
    assert f"its first words come {words}" in said.reason
    assert "not been measured" not in said.reason


def test_the_reason_is_one_sentence():
    for needs in (Needs(10), Needs(31_000, images=True), Needs(10**9)):
        reason = advice(adviser(ollama_big=(200, 5), cloud_flash=(100, 3)), needs).reason
        assert reason.endswith(".")
        assert ". " not in reason


def test_prices_count_what_was_cached_for_less():
    made = build_plugin(
        Recommend, "recommend", prices={"a/*": {"input": 10, "output": 20, "cached": 1}}
    )
    assert made.cost("a/x", Usage(100_000, 10_000, 200_000)) == pytest.approx(1.0 + 0.2 + 0.2)
    assert made.cost("b/x", Usage(1, 1)) is None


def test_a_price_of_no_backend_is_a_mistake_of_the_configuration():
    made = build_plugin(Recommend, "recommend", prices={"clod/*": {"input": 1, "output": 1}})
    ((place, reason),) = made.check(ZONES)
    assert place == ("prices", "clod/*")
    assert "names no configured backend" in reason


async def test_exchanges_are_measured_and_kept_over_a_restart(state_folder):
    made = build_plugin(Recommend, "recommend")
    home = backend("home")
    async with gateway([made, home]) as gate:
        await Client(gate).say("word " * 2000, stream=False)
        async with gate.client.stream(
            "POST",
            "/v1/messages",
            json={
                "model": "home/m",
                "max_tokens": 9,
                "stream": True,
                "messages": [{"role": "user", "content": "word " * 2000}],
            },
        ) as response:
            await response.aread()
        with anyio.fail_after(5):
            while made.speeds["home/m"].exchanges < 2:
                await anyio.sleep(0.01)
        assert made.speeds["home/m"].prefill > 0
    assert (state_folder / "speeds.json").stat().st_mode & 0o777 == 0o600
    again = build_plugin(Recommend, "recommend")
    async with gateway([again, home]) as running:
        assert running.app.snapshot.gateway.find(Advises) == [("recommend", again)]
        assert again.facts("home/m") == made.facts("home/m")


async def test_a_file_that_is_no_json_is_as_good_as_none(state_folder):
    state_folder.mkdir(parents=True)
    (state_folder / "speeds.json").write_text("{nonsense")
    async with gateway([build_plugin(Recommend, "recommend"), backend("home")]) as gate:
        assert await Client(gate).say("hello") == "home/m here"


def test_a_model_for_side_requests_is_not_recommended_for_a_conversation_with_tools():
    able = frozenset({"tools"})
    extra = {"side_requests_only": True}
    side = ModelInfo("anthropic/ollama/side", context_tokens=4096, capabilities=able, extra=extra)
    made = adviser()
    with_tools = advice(made, Needs(1000, tools=True), side, FLASH)
    assert with_tools.endpoint.id == "cloud/flash"
    assert "it is for titles and small chats" in with_tools.others[-1]
    assert advice(made, Needs(1000), side, FLASH).endpoint.id == "ollama/side"
