"""The estimate against real tokenizers.

The demo model's vocabulary is always there. Those of the sources of llama.cpp are tried where
`tools/build-llama-server` has unpacked them.
"""

import base64
import json
import os
import random
import uuid
from pathlib import Path

import orjson
import pytest
from conversations import conversation, rendered

from plugway import MessagesRequest
from plugway_context_guard._features import collapsed, features_of, text_features
from plugway_context_guard._meter import LEAST_BOUND, Meter, at_most
from plugway_context_guard._thoughts import thoughts_in
from plugway_signature import signature
from plugway_translation import Reasoning
from tests.slow import quick_first, seeds

CACHE = Path(os.environ.get("PLUGWAY_BUILD_CACHE", Path.home() / ".cache/plugway-build"))
LIMIT = 0.05
KNOWN = ["llama-bpe", "deepseek-llm", "gemma-4"]


def vocabulary(name):
    llama_cpp = pytest.importorskip("llama_cpp")
    if name == "demo":
        demo = pytest.importorskip("plugway_demo_model")
        path = Path(demo.__file__).parent / "data/demo.gguf"
    else:
        found = CACHE.glob(f"llama-server/*/sources/models/ggml-vocab-{name}.gguf")
        path = next(found, None)
    if path is None or not path.is_file():
        pytest.skip(f"the vocabulary of {name} is not here")
    model = llama_cpp.Llama(model_path=str(path), vocab_only=True, verbose=False)
    return lambda text: len(model.tokenize(text.encode(), special=True))


def sized(body):
    raw = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    return raw, features_of(MessagesRequest(raw))


@pytest.mark.parametrize("name", quick_first(["demo", *KNOWN], 1))
def test_after_one_answer_the_error_in_a_conversation_is_below_five_percent(name):
    tokens_in, meter, within, first = vocabulary(name), Meter(), [], []
    for seed in seeds(1, 3):
        for turn, body in enumerate(conversation(seed, 6)):
            raw, features = sized(body)
            real, count = tokens_in(rendered(body)), meter.count(name, features)
            (within if turn else first).append(abs(count.tokens / real - 1))
            if turn or seed or name != "demo":  # 4,096 pieces are fewer than any in use has
                assert count.least <= real <= count.most, "the stated bound holds"
            assert real <= at_most(MessagesRequest(raw))
            meter.learn(name, real, len(raw), features)
    shown = " ".join(f"{error:.3f}" for error in first)
    print(f"{name}: largest error {max(within):.3f}; first requests {shown}")
    assert max(within) < LIMIT


KINDS = {
    "prose": "The gateway reads each request and decides which server answers it. " * 200,
    "code": "    def find(self, name: str) -> int | None:\n        return self.known.get(name)\n"
    * 120,
    "JSON": json.dumps([{"id": n, "name": "item", "done": False} for n in range(300)]),
    "Chinese": "程序需要知道每一段文字大约占用多少个标记,然后才能决定是否压缩对话。" * 60,
    "Japanese": "プログラムのエラーを修正してから、テストを実行してください。" * 60,
    "Russian": "После исправления ошибки запустите тесты ещё раз. Файл не найден. " * 60,
    "base64": base64.b64encode(random.Random(2).randbytes(9000)).decode(),
    "hexadecimal": random.Random(3).randbytes(6000).hex(),
    "numbers": "\n".join(f"{n},{n * 7919 % 100_000}" for n in range(900)),
    "blanks": "\n".join(" " * (n % 60) + "}" for n in range(900)),
    "capitals": "SELECT COUNT(*) FROM ORDERS WHERE STATUS = 'OPEN' GROUP BY REGION; " * 90,
}


@pytest.mark.parametrize("name", quick_first([*KNOWN, "qwen2"], 1))
def test_each_kind_of_text_is_learned_by_one_answer_and_never_held_for_more_than_it_is(name):
    tokens_in = vocabulary(name)
    for kind, text in KINDS.items():
        raw, features = sized({"model": "m", "messages": [{"role": "user", "content": text}]})
        real, meter = tokens_in(text), Meter()
        assert meter.fewest("x", collapsed(MessagesRequest(raw))) <= real, kind
        meter.learn("x", real, len(raw), features)
        assert meter.count("x", features).tokens == pytest.approx(real, rel=0.05), kind
        assert meter.fewest("x", collapsed(MessagesRequest(raw))) <= real, kind


DENSE = {
    "UUIDs": "\n".join(str(uuid.UUID(int=n * 7919**9 % 2**128)) for n in range(300)),
    "base64 lines": base64.encodebytes(random.Random(4).randbytes(9000)).decode(),
    "hexadecimal dump": "\n".join(random.Random(n).randbytes(16).hex(" ") for n in range(300)),
    "numbers": json.dumps([n * 7919 % 1000 / 8 for n in range(1500)]),
    "single digits": " ".join(str(n * 7 % 10) for n in range(5000)),
    "Ethiopic": "ፕሮግራሙ የእያንዳንዱን ጽሑፍ መጠን ማወቅ አለበት። " * 60,
    "emoji": "😀🧪🛰" * 900,
}


@pytest.mark.parametrize("name", quick_first(["demo", *KNOWN, "qwen2"], 1))
def test_no_text_has_more_tokens_than_the_cheap_bound_says_and_each_count_is_learned(name):
    tokens_in = vocabulary(name)
    for kind, text in (KINDS | DENSE).items():
        raw, features = sized(spoken(text))
        real, meter = tokens_in(text), Meter()
        assert real <= at_most(MessagesRequest(raw)), kind
        meter.learn("x", real, len(raw), features)
        assert meter.count("x", features).tokens == pytest.approx(real, rel=0.15), kind


RUNS = ["─", "━", "═", "█", "—", "…", "\u3000", "\u00a0", "\ufffd", *",?!<(=0xA", "\t", "\n"]


@pytest.mark.parametrize("name", quick_first([*KNOWN, "qwen2"], 1))
def test_a_run_of_a_character_is_never_held_for_more_tokens_than_it_is(name):
    tokens_in = vocabulary(name)
    for sign in RUNS:
        for text in (f"{sign * 76}\n" * 50, sign * 2000, f"a{sign * 5}b{sign * 18}\n" * 50):
            raw, _ = sized(spoken(text))
            few = Meter().fewest("x", collapsed(MessagesRequest(raw)))
            assert few <= tokens_in(text) + 10, (sign, text[:80])


def test_a_count_below_what_any_vocabulary_makes_teaches_nothing():
    meter = Meter()
    raw, features = sized(spoken(KINDS["prose"]))
    meter.learn("x", meter.plain(features) // 3, len(raw), features)
    assert meter.count("x", features) == Meter().count("x", features)


def test_a_kind_of_text_that_was_never_counted_is_not_judged_by_another():
    meter, few = Meter(), collapsed(MessagesRequest(sized(spoken(KINDS["Chinese"]))[0]))
    before = meter.fewest("x", few)
    for _ in range(20):
        raw, features = sized(spoken(KINDS["prose"]))
        meter.learn("x", meter.count("x", features).tokens, len(raw), features)
    assert meter.fewest("x", few) <= before * 1.1
    raw, features = sized(spoken(KINDS["Chinese"]))
    for _ in range(5):
        meter.learn("x", meter.plain(features), len(raw), features)
    assert meter.fewest("x", few) > before * 1.4


def spoken(text):
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def test_another_model_under_the_same_name_is_learned_within_three_answers():
    meter = Meter()
    for _ in range(300):
        meter.learn("a/b", 1000, 4800, TEXT)
    for _ in range(3):
        meter.learn("a/b", 1700, 4800, TEXT)
    assert meter.count("a/b", TEXT).tokens == pytest.approx(1700, rel=0.05)


TEXT = text_features(b"some words of a prompt, " * 200)


def test_before_the_first_answer_the_bound_is_wide():
    assert 0.15 < Meter().count("a/b", TEXT).bound <= 0.3


def test_the_bound_grows_with_errors_and_shrinks_again():
    meter = Meter()
    for _ in range(20):
        meter.learn("a/b", 1000, 4800, TEXT)
    assert meter.count("a/b", TEXT).tokens == 1000
    assert meter.count("a/b", TEXT).bound == LEAST_BOUND
    meter.learn("a/b", 1100, 4800, TEXT)
    assert 0.1 < meter.count("a/b", TEXT).bound < 0.2
    for _ in range(30):
        meter.learn("a/b", 1100, 4800, TEXT)
    assert meter.count("a/b", TEXT).bound == LEAST_BOUND


def test_the_weights_stay_sane_over_many_answers():
    meter = Meter()
    for number in range(3000):
        features = text_features(b"some words, 12 and \xc3\xa9 " * (50 + number % 70))
        meter.learn("a/b", round(sum(features) / 3), 10_000, features)
    assert 500 < meter.count("a/b", TEXT).tokens < 3000


@pytest.mark.parametrize("tokens", [0, 3, 10**9])
def test_a_count_that_cannot_be_this_prompts_teaches_nothing(tokens):
    meter = Meter()
    meter.learn("a/b", tokens, 4000, TEXT)
    assert meter.count("a/b", TEXT) == Meter().count("a/b", TEXT)


def test_an_image_counts_by_its_kind_and_not_by_its_bytes():
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 100_000}
    image = {"type": "image", "source": source}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    body = {"model": "m", "messages": [{"role": "user", "content": [image, result]}]}
    assert sized(body)[1][-1] == 3200
    assert sum(sized(body)[1][:-1]) < 400


STATE = {"encrypted": base64.b64encode(random.Random(1).randbytes(4500)).decode()}
"""Some 6 KB, of a reasoning of about 1,100 tokens; 8 KB in the signature."""


def thinking(state=STATE, redacted=False):
    text = "It may rain. " * 100
    block = Reasoning.of("there", "m").block("" if redacted else text, state)
    return {"role": "assistant", "content": [block, {"type": "text", "text": "Yes."}]}


def weighed(backend, *messages):
    """Tokens as estimated, and the loose bound, of a request to a backend."""
    talk = [{"role": "user", "content": "some words of a prompt " * 200}, *messages]
    request = MessagesRequest(orjson.dumps({"model": "m", "messages": talk}))
    thoughts, meter = thoughts_in(request, backend), Meter()
    features = features_of(request, thoughts)
    return meter.count("x", features).tokens, at_most(request, thoughts)


@pytest.mark.parametrize("redacted", [False, True])
def test_encrypted_reasoning_counts_by_what_its_maker_gets_back(redacted):
    with_state, most = weighed("there", thinking(redacted=redacted))
    without, most_without = weighed("there", thinking(state=None, redacted=redacted))
    assert 1100 < with_state - without < 1300
    assert with_state - without < most - most_without < 2000


def test_thinking_of_another_model_counts_nothing_as_it_is_not_sent():
    plain = weighed("here", {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]})
    for redacted in (False, True):
        counts = weighed("here", thinking(redacted=redacted))
        assert counts == pytest.approx(plain, abs=60)


def test_what_others_signed_and_texts_that_look_like_it_count_as_text():
    mark = signature("there", "m", STATE)
    said = {"role": "user", "content": [{"type": "text", "text": mark}]}
    assert weighed("here", said)[0] - weighed("here")[0] > 3000
    block = {"type": "thinking", "thinking": "Hm.", "signature": mark.removeprefix("plugway.1.")}
    assert weighed("here", {"role": "assistant", "content": [block]})[0] > 4000


def test_many_targets_are_forgotten_in_turn():
    meter = Meter()
    for number in range(1200):
        meter.learn(f"a/{number}", 1500, 4800, TEXT)
    assert meter.count("a/0", TEXT) == Meter().count("a/0", TEXT)
    assert meter.count("a/1199", TEXT).tokens > 1300
