"""Every row of the table has a sentence that only it understands first."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import BackendRefused, StreamInterrupted
from plugway_upstream_errors import (
    KINDS,
    WORDINGS,
    Learned,
    meaning_of,
    overflow_sentence,
    quotable,
    unwrap,
    window_sentence,
)

# (status, text, kind, prompt, limit, answer)
SENTENCES = [
    (400, '{"error":{"message":"Invalid \'messages[2].content\': string too long. Expected a string with maximum length 40","code":"string_above_max_length"}}', "overflow", 0, 0, 0),
    (400, '{"error":{"message":"Invalid \'messages[2].tool_calls[0].id\': string too long. Expected a string with maximum length 40","code":"string_above_max_length"}}', "field_too_long", 0, 0, 0),
    (422, "metadata.user_id: String should have at most 256 characters", "field_too_long", 0, 0, 0),
    (400, "tools[0].description is too long", "field_too_long", 0, 0, 0),
    (400, "failed to satisfy constraint: Member must have length less than or equal to 1024", "field_too_long", 0, 0, 0),
    (400, "messages.0.content.0.text.text: String should have at most 9000000 characters", "overflow", 0, 0, 0),
    (400, "messages.2.content: String should have at most 9000000 characters", "overflow", 0, 0, 0),
    (400, "messages.1.content.0.tool_use.id: String should have at most 64 characters", "field_too_long", 0, 0, 0),
    (400, "Invalid 'messages': array too long. Expected an array with maximum length 2048", "overflow", 0, 0, 0),
    (400, "Invalid 'stop': array too long. Expected an array with maximum length 4", "field_too_long", 0, 0, 0),
    (400, "`metadata.user_id`: input is too long", "field_too_long", 0, 0, 0),
    (400, "`tools.0.custom.description`: prompt is too long", "field_too_long", 0, 0, 0),
    (400, "tools.0.custom.description is way too long", "field_too_long", 0, 0, 0),
    (400, "tools.3.custom.input_examples: input is too long", "field_too_long", 0, 0, 0),
    (400, "messages[3].tool_call_id: input is too long (max 40)", "field_too_long", 0, 0, 0),
    (422, "session_id: Input is too long", "field_too_long", 0, 0, 0),
    (400, "stop: input is too long, at most 4 sequences", "field_too_long", 0, 0, 0),
    (400, "The input is too long for field `user` (max 64 characters)", "field_too_long", 0, 0, 0),
    (400, "prompt_cache_key: prompt is too long", "field_too_long", 0, 0, 0),
    (400, "Tool description exceeds the maximum context length is 1024 tokens", "field_too_long", 0, 0, 0),
    (400, "too many tokens: size limit exceeded by 2 tokens. Try using shorter or fewer inputs. The limit for this model is 5 tokens.", "overflow", 0, 5, 0),
    (400, "Input Tokens Exceeded: Number of input tokens exceeds maximum length.", "overflow", 0, 0, 0),
    (400, "The number of tokens to keep from the initial prompt is greater than the context length. Try to load the model with a larger context length", "overflow", 0, 0, 0),
    (400, "prompt too long; exceeded max context length by 7 tokens", "overflow", 0, 0, 0),
    (422, "Input validation error: `inputs` must have less than 5 tokens. Given: 7", "overflow", 7, 5, 0),
    (400, "Prompt length (7) exceeds maximum input length (5). Set log level to info", "overflow", 7, 5, 0),
    (422, "Prompt length 7 is greater than max_seq_len 5", "overflow", 7, 5, 0),
    (413, "Request body too large for gpt-4o model. Max size: 8000 tokens.", "overflow", 0, 8000, 0),
    (413, "Request too large for model `m` in organization `o` service tier `on_demand` on tokens per minute (TPM): Limit 5, Requested 7, please reduce your message size and try again.", "overflow", 7, 5, 0),
    (400, "Please reduce the length of the messages or completion. Current length is 7 while limit is 5", "overflow", 7, 5, 0),
    (400, "Prompt exceeds context window (7 > 5)", "overflow", 7, 5, 0),
    (400, "Context length exceeded: 7 > 5", "overflow", 7, 5, 0),
    (400, "Input is too large. Input token count 7 exceeds limit of 5", "overflow", 7, 5, 0),
    (400, "the number of input tokens 7 cannot exceed the total tokens limit 5 for this model", "overflow", 7, 5, 0),
    (400, "Total tokens of image and text exceed max message tokens", "overflow", 0, 0, 0),
    (400, "the max input characters is 20000", "overflow", 0, 0, 0),
    (400, "prompt is too long: 7 tokens > 5 maximum", "overflow", 7, 5, 0),
    (400, "input length and `max_tokens` exceed context limit: 7 + 3 > 9", "overflow", 7, 9, 3),
    (400, "maximum context length is 9 tokens. However, you requested 10 tokens (7 in the messages, 3 in the completion)", "overflow", 7, 9, 3),
    (400, "maximum context length is 9 tokens. However, you requested about 10 tokens (7 of text input, 3 in the output)", "overflow", 7, 9, 3),
    (400, "This model's maximum context length is 4097 tokens. However, your messages resulted in 5,000 tokens.", "overflow", 5000, 4097, 0),
    (400, "You passed 7 input tokens and requested 3 output tokens. However, the model's context length is only 9 tokens, resulting in", "overflow", 7, 9, 3),
    (400, "'max_tokens' or 'max_completion_tokens' is too large: 3. This model's maximum context length is 9 tokens and your request has 7 input tokens", "overflow", 7, 9, 3),
    (400, "The prompt (total length 7) is too long to fit into the model (context length 5).", "overflow", 7, 5, 0),
    (400, "The decoder prompt (length 7) is longer than the maximum model length of 5.", "overflow", 7, 5, 0),
    (400, "request (7 tokens) exceeds the available context size (5 tokens), try", "overflow", 7, 5, 0),
    (400, "(n_keep: 7>= n_ctx: 5)", "overflow", 7, 5, 0),
    (400, "Cannot truncate prompt with n_keep (7) >= n_ctx (5)", "overflow", 7, 5, 0),
    (400, "Trying to keep the first 7 tokens when context the overflows. However, the model is loaded with context length of only 5 tokens", "overflow", 7, 5, 0),
    (400, "Requested tokens (7) exceed context window of 5", "overflow", 7, 5, 0),
    (400, "The input token count (7) exceeds the maximum number of tokens allowed (5).", "overflow", 7, 5, 0),
    (400, "The input token count exceeds the maximum number of tokens allowed 5.", "overflow", 0, 5, 0),
    (400, "prompt token count of 7 exceeds the limit of 5", "overflow", 7, 5, 0),
    (400, "maximum context length of 9 tokens. You requested a total of 10 tokens: 7 tokens from the input messages and 3 tokens for the completion", "overflow", 7, 9, 3),
    (400, "Input length (7 tokens) exceeds the maximum allowed length (5 tokens)", "overflow", 7, 5, 0),
    (422, "`inputs` tokens + `max_new_tokens` must be <= 9. Given: 7 `inputs` tokens and 3 `max_new_tokens`", "overflow", 7, 9, 3),
    (400, "Prompt contains 7 tokens and 0 draft tokens, too large for model with 5 maximum context length", "overflow", 7, 5, 0),
    (400, "This model's maximum prompt length is 5 but the request contains 7 tokens.", "overflow", 7, 5, 0),
    (400, "too many tokens: total number of tokens in the prompt cannot exceed 5 - received 7.", "overflow", 7, 5, 0),
    (400, "The prompt is too long: 7, model maximum context length: 5", "overflow", 7, 5, 0),
    (400, "Your request exceeded model token limit: 5", "overflow", 0, 5, 0),
    (400, "Range of input length should be [1, 5]", "overflow", 0, 5, 0),
    (400, "This model's maximum context length is 5 tokens.", "overflow", 0, 5, 0),
    (400, "Your input exceeds the context window of this model.", "overflow", 0, 0, 0),
    (400, "the input length exceeds the context length", "overflow", 0, 0, 0),
    (400, "Input is too long for requested model.", "overflow", 0, 0, 0),
    (400, "the request exceeds the available context size. try increasing it", "overflow", 0, 0, 0),
    (400, "Prompt exceeds max length", "overflow", 0, 0, 0),
    (400, "invalid params, context window exceeds limit", "overflow", 0, 0, 0),
    (400, "prompt is too long", "overflow", 0, 0, 0),
    (400, '{"error":{"code":"context_length_exceeded"}}', "overflow", 0, 0, 0),
    (400, "max_tokens is too large: 3. This model supports at most 2 completion tokens.", "output_limit", 0, 2, 3),
    (400, "max_tokens: 3 > 2, which is the maximum allowed number of output tokens", "output_limit", 0, 2, 3),
    (400, "Invalid max_tokens value, the valid range of max_tokens is [1, 2]", "output_limit", 0, 2, 0),
    (400, '{"error":{"details":[{"reason":"API_KEY_INVALID"}]}}', "auth", 0, 0, 0),
    (400, "API key expired. Please renew the API key.", "auth", 0, 0, 0),
    (403, "Your API key was reported as leaked. Please use another API key.", "auth", 0, 0, 0),
    (403, "Method doesn't allow unregistered callers (callers without established identity).", "auth", 0, 0, 0),
    (401, "Authentication Fails (governor)", "auth", 0, 0, 0),
    (400, "Incorrect API key provided", "auth", 0, 0, 0),
    (429, '{"error":{"code":"insufficient_quota"}}', "quota", 0, 0, 0),
    (400, "Your credit balance is too low to access the API.", "quota", 0, 0, 0),
    (400, '{"error":{"status":"RESOURCE_EXHAUSTED"}}', "rate_limit", 0, 0, 0),
    (429, "You exceeded your current quota, please check your plan and billing details.", "quota", 0, 0, 0),
    (500, "Model is not loaded", "not_loaded", 0, 0, 0),
    (503, "Loading model", "loading", 0, 0, 0),
    (404, 'model "m" not found, try pulling it first', "model_not_found", 0, 0, 0),
    (404, "model 'm' not found", "model_not_found", 0, 0, 0),
    (500, "The model `m` does not exist.", "model_not_found", 0, 0, 0),
    (400, "models/m is not found for API version v1beta", "model_not_found", 0, 0, 0),
    (400, "The provided model identifier is invalid.", "model_not_found", 0, 0, 0),
    (400, "m is not a valid model ID", "model_not_found", 0, 0, 0),
    (400, '{"error":{"code":"model_not_found"}}', "model_not_found", 0, 0, 0),
    (500, "failed to load model", "broken", 0, 0, 0),
    (500, "model name=qwen3 failed to load", "broken", 0, 0, 0),
    (500, '{"error":"model requires more system memory (22.5 GiB) than is available (14.1 GiB)"}', "broken", 0, 0, 0),
    (400, 'Failed to load model "m". Error: Model loading was stopped due to insufficient system resources.', "broken", 0, 0, 0),
    (500, "input (9000 tokens) is too large to process. increase the physical batch size (current batch size: 512)", "broken", 0, 0, 0),
    (500, "no user query found in messages", "broken", 0, 0, 0),
    (500, "Error rendering the chat template", "broken", 0, 0, 0),
    (400, '{"error":{"code":"unsupported_value"}}', "unsupported", 0, 0, 0),
    (422, "Extra inputs are not permitted", "unsupported", 0, 0, 0),
    (500, "server is busy", "overloaded", 0, 0, 0),
    (500, '{"error":{"type":"overloaded_error"}}', "overloaded", 0, 0, 0),
]  # fmt: skip


def first_row(status, text):
    facts = unwrap(text.encode())
    words = "\n".join(facts.texts)
    for row in WORDINGS:
        if row.statuses and status not in row.statuses:
            continue
        if row.place and not any(map(row.place.fullmatch, re.findall("Invalid '(.+?)'", words))):
            continue
        if (row.match and row.match.search(words)) or (
            row.code and any(row.code.fullmatch(code) for code in facts.codes)
        ):
            return row
    return None


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda s: s[1][:60])
def test_a_sentence_is_understood_with_its_numbers(sentence):
    status, text, kind, prompt, limit, answer = sentence
    found = meaning_of(BackendRefused(status, text.encode()))
    assert (found.kind, found.prompt, found.limit, found.answer) == (kind, prompt, limit, answer)
    assert found.status == KINDS[kind].status


@pytest.mark.parametrize(
    "said", ["Failed to parse input at pos 7: {}", "error parsing tool call: raw='{}', err=EOF"]
)
@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda s: s[1][:60])
def test_what_the_model_wrote_has_no_meaning_for_the_error_that_quotes_it(said, sentence):
    told = {"error": {"code": 500, "message": said.format(sentence[1])}}
    nested = {"error": f"Engine protocol predict request returned 500: {json.dumps(told)}"}
    for error in (told, nested):
        found = meaning_of(BackendRefused(500, json.dumps(error).encode()))
        assert (found.kind, found.prompt, found.limit) == ("other", 0, 0)
    assert meaning_of(StreamInterrupted(said.format(sentence[1]), status=500)).kind == "other"


def test_every_row_of_the_table_has_a_sentence():
    hit = {id(first_row(status, text)) for status, text, *_ in SENTENCES}
    assert [row for row in WORDINGS if id(row) not in hit] == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":{"message":"WORDS"}}',
        b'[{"error":{"message":"WORDS"}}]',
        b'"WORDS"',
        b"WORDS",
        b'event: error\ndata: {"error":"WORDS"}\n\n',
        b'{"detail":"WORDS"}',
        b'{"detail":[{"loc":["body"],"msg":"WORDS"}]}',
        b'{"error":"{\\"error\\":{\\"message\\":\\"WORDS\\"}}"}',
        b'"\\"\\\\\\"WORDS\\\\\\"\\""',
        b'{"error":{"message":"Provider returned error","metadata":{"raw":"{\\"error\\":\\"WORDS\\"}"}}}',
        b'{"response":{"error":{"message":"WORDS"}}}',
    ],
)
def test_the_words_are_found_in_any_shape(body):
    assert unwrap(body).text == "WORDS"


def test_a_web_page_has_no_words():
    assert unwrap(b"<html><h1>502</h1></html>").texts == []


@given(prompt=st.integers(-5, 10**7), answer=st.integers(0, 10**6), limit=st.integers(-5, 10**7))
def test_the_sentence_names_a_prompt_above_the_limit(prompt, answer, limit):
    text = window_sentence(prompt, answer, limit)
    if text.startswith("prompt is too long: "):
        first, last = text.removeprefix("prompt is too long: ").split(" tokens > ")
        assert int(first) > int(last.split()[0])
    else:
        assert limit - prompt >= 4000


def test_a_prompt_equal_to_the_limit_is_told_as_one_more():
    assert "6 tokens > 5 maximum" in overflow_sentence(5, 5)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_text_can_be_told(text):
    quotable(text).encode()


def test_what_was_learned_is_forgotten_after_an_hour():
    now = [0.0]
    learned = Learned(lambda: now[0])
    learned.learn("a/b", 5)
    assert learned.get("a/b") == 5
    now[0] = 3601
    assert learned.get("a/b") == 0


def test_no_more_is_learned_than_fits():
    learned = Learned()
    for number in range(1500):
        learned.learn(f"a/{number}", 5)
    assert learned.get("a/0") == 0
    assert learned.get("a/1499") == 5


@pytest.mark.parametrize(
    ("body", "places"),
    [
        (b'{"error":{"message":"no","param":"tools[0].name"}}', ["tools[0].name"]),
        (b'{"detail":[{"loc":["body","a",0],"msg":"no"}]}', ["body.a.0"]),
        (b'{"error":{"message":"no","param":null}}', []),
    ],
)
def test_the_place_of_the_fault_is_found(body, places):
    assert unwrap(body).places == places


@pytest.mark.parametrize("name", ["prompt_cache_key", "api_key", "token", "password", "secret"])
def test_what_is_said_of_a_field_that_is_called_like_a_secret_is_kept(name):
    for said in ("string too long", "Expected 64 characters", "Extra inputs are not permitted"):
        assert quotable(f"Invalid '{name}': {said}") == f"Invalid '{name}': {said}"
    assert "hunter22" not in quotable(f"Invalid '{name}': hunter22")
