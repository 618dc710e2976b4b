"""What is answered without a model, and what never is."""

import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway.testing import (
    FeatureContract,
    PlainBackend,
    assert_valid_stream,
    build_plugin,
    gateway,
    request_body,
)
from plugway_local_answers import LocalAnswers
from plugway_local_answers._known import probe, title, title_of, topic

pytestmark = pytest.mark.anyio

WORDS = ("quota", "test", "count", "foo")
TITLE = {
    "format": {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"title": {"type": "string"}},
            "required": ["title"],
            "additionalProperties": False,
        },
    }
}
TOPIC_SYSTEM = (
    "Analyze if this message indicates a new conversation topic. Format your response as a JSON "
    "object with two fields: 'isNewTopic' (boolean) and 'title' (string, or null)."
)
TOOL = {"name": "Read", "input_schema": {"type": "object"}}
SESSION = (
    "<session>\nfix the flaky upload test in CI, please\n</session>\n\nWrite the title in English."
)


class TestContract(FeatureContract):
    plugin = LocalAnswers
    harmless = {"output_config": {"effort": "high"}}


def titled(prompt=SESSION, **fields):
    return request_body(prompt, **{"output_config": TITLE, **fields})


def turns(*texts):
    roles = ["user", "assistant"] * len(texts)
    return [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]


# ── through the gateway ──────────────────────────────────────────────────────────────────────


@pytest.fixture
async def stack():
    backend = build_plugin(PlainBackend, "plain")
    async with gateway([build_plugin(LocalAnswers, "local-answers"), backend]) as running:
        yield running, backend


@pytest.mark.parametrize("word", ["quota", "test", "Quota ", "count", "foo"])
async def test_a_probe_is_answered_without_a_backend(stack, word):
    running, backend = stack
    message = await running.ask(word, max_tokens=1)
    assert message["content"] == [{"type": "text", "text": "ok"}]
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"]["input_tokens"] > 0
    assert message["model"] == "test-model"
    assert not backend.seen


async def test_a_title_is_made_of_the_first_words_as_a_stream_too(stack):
    running, backend = stack
    events = await running.stream(SESSION, output_config=TITLE)
    assert_valid_stream(events)
    text = "".join(d["delta"]["text"] for n, d in events if n == "content_block_delta")
    assert orjson.loads(text) == {"title": "Fix the flaky upload test in"}
    whole = (await running.post(titled())).json()
    assert whole["content"][0]["text"] == text
    assert not backend.seen


async def test_the_receipt_says_that_no_backend_was_asked(stack):
    running, _ = stack
    receipt = (await running.post(titled())).headers["plugway-receipt"]
    assert "by=local-answers" in receipt
    assert "served-by" not in receipt


@pytest.mark.parametrize(
    "body",
    [
        request_body("quota"),
        request_body("quota", max_tokens=1, tools=[TOOL]),
        request_body("Hi", max_tokens=1),
        request_body("what is my quota", max_tokens=1),
        request_body(max_tokens=1, messages=turns("hello", "hi", "test")),
        titled(tools=[TOOL]),
        titled(messages=turns("hello", "hi", "name it")),
        titled(output_config={"effort": "low"}),
        request_body("is this `isNewTopic` in JSON?"),
        request_body("a", system="An agent. isNewTopic is a variable of mine."),
    ],
)
async def test_what_could_matter_goes_to_the_backend(stack, body):
    running, backend = stack
    message = (await running.post(body)).json()
    assert message["content"][0]["text"] == "plain answer"
    assert len(backend.seen) == 1


@pytest.mark.parametrize(
    ("option", "body"),
    [
        ("probes", request_body("quota", max_tokens=1)),
        ("titles", titled()),
        ("topics", request_body("hello", system=TOPIC_SYSTEM)),
    ],
)
async def test_each_kind_can_be_switched_off(option, body):
    backend = build_plugin(PlainBackend, "plain")
    answers = build_plugin(LocalAnswers, "local-answers", **{option: False})
    async with gateway([answers, backend]) as running:
        await running.post(body)
    assert len(backend.seen) == 1


async def test_words_of_probes_can_be_chosen():
    backend = build_plugin(PlainBackend, "plain")
    answers = build_plugin(LocalAnswers, "local-answers", probe_words=["Ping"])
    async with gateway([answers, backend]) as running:
        await running.ask("ping", max_tokens=1)
        assert not backend.seen
        await running.ask("quota", max_tokens=1)
    assert len(backend.seen) == 1


def test_a_probe_word_with_a_space_is_refused():
    with pytest.raises(ValueError, match="single word"):
        build_plugin(LocalAnswers, "x", probe_words=["two words"])


# ── which requests ───────────────────────────────────────────────────────────────────────────


def test_a_topic_request_is_a_new_topic_with_a_title():
    body = request_body("why is the sky blue?", system=TOPIC_SYSTEM)
    answer = {"isNewTopic": True, "title": "Why is the sky blue"}
    assert orjson.loads(topic(body).text) == answer
    begun = {**body, "messages": [*body["messages"], {"role": "assistant", "content": "{"}]}
    assert orjson.loads("{" + topic(begun).text) == answer


def test_a_topic_request_is_known_by_its_schema_too():
    fields = {"isNewTopic": {"type": "boolean"}, "title": {"type": ["string", "null"]}}
    form = {"type": "json_schema", "schema": {"type": "object", "properties": fields}}
    assert topic(request_body("hello", output_config={"format": form})) is not None


def test_a_prompt_with_an_image_is_not_looked_into():
    image = {"type": "image", "source": {"type": "url", "url": "https://x"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "x"}, image]}]
    assert title(titled(messages=messages)) is None


@pytest.mark.parametrize(
    "field",
    [{"type": "string", "enum": ["bug", "feature"]}, {"type": "integer"}, {"$ref": "#/x"}, {}],
)
def test_a_title_that_must_be_something_special_is_not_made_up(field):
    config = orjson.loads(orjson.dumps(TITLE))
    config["format"]["schema"]["properties"]["title"] = field
    assert title(titled(output_config=config)) is None


def test_a_schema_with_another_field_is_not_a_title_request():
    config = orjson.loads(orjson.dumps(TITLE))
    config["format"]["schema"]["properties"]["branch"] = {"type": "string"}
    assert title(titled(output_config=config)) is None


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        (SESSION, "Fix the flaky upload test in"),
        ("<system-reminder>today is monday</system-reminder>\nhello there", "Hello there"),
        ("## Rename `foo` to **bar**!", "Rename foo to bar"),
        ("größe ändern.", "Größe ändern"),
        ("a" * 400, "A" + "a" * 49),
        ("", "New session"),
        ("<session></session>", "New session"),
        ("<session>\ncut off here", "Cut off here"),
        ("<command-name>/x</command-name><system-reminder>open", "Open"),
        ("日本語のタイトル", "日本語のタイトル"),
    ],
)
def test_titles(prompt, expected):
    assert title_of(prompt) == expected


@pytest.mark.parametrize("piece", ["<session>", "<system-reminder>", "<command-a>", "<a", "</"])
def test_a_hostile_prompt_takes_no_time(piece):
    began = time.process_time()
    title_of(piece * 50_000)
    title_of("".join(f"<command-{n}>" for n in range(20_000)))
    assert time.process_time() - began < 0.5


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["messages", "system", "tools", "output_config", "max_tokens"]), JSON
    ),
    st.lists(
        st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant"]), "content": JSON}),
        min_size=1,
        max_size=3,
    ),
)
def test_odd_requests_break_nothing(fields, messages):
    body = {"output_config": TITLE, **fields, "messages": messages}
    for ask in (lambda b: probe(b, WORDS), title, topic):
        known = ask(body)
        assert known is None or len(messages) <= 2


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_a_title_is_short_one_line_and_the_same_each_time(prompt):
    found = title_of(prompt)
    assert found == title_of(prompt)
    assert 0 < len(found) <= 60
    assert "\n" not in found
