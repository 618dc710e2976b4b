"""Whatever a client sends, it gets an answer in Google's words and never an internal error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import BackendProtocolError, InvalidRequest, event
from plugway_gemini_api._parts import Parts
from plugway_gemini_api._request import messages_request
from plugway_gemini_api._tools import names_of
from plugway_translation import Notes

NAMES = [
    "text",
    "thought",
    "thoughtSignature",
    "inlineData",
    "mimeType",
    "data",
    "fileData",
    "fileUri",
    "functionCall",
    "name",
    "args",
    "id",
    "functionResponse",
    "response",
    "parts",
    "role",
    "contents",
    "systemInstruction",
    "tools",
    "functionDeclarations",
    "parameters",
    "type",
    "properties",
    "anyOf",
    "nullable",
    "enum",
    "toolConfig",
    "functionCallingConfig",
    "mode",
    "allowedFunctionNames",
    "generationConfig",
    "temperature",
    "topK",
    "maxOutputTokens",
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "thinkingConfig",
    "thinkingBudget",
    "includeThoughts",
    "executableCode",
]
FIELDS = ("systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "model")
WORDS = st.sampled_from(["", "user", "model", "ANY", "STRING", "application/json", "AAAA", "x"])
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), WORDS)
JUNK = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({"contents": JUNK}, optional=dict.fromkeys(FIELDS, JUNK)))
def test_junk_is_a_request_or_a_400(body):
    try:
        found = messages_request(body, "m", Notes(), max_tokens=9)
    except InvalidRequest:
        return  # a 400
    assert all(message["content"] for message in found["messages"])


PART = st.fixed_dictionaries(
    {},
    optional={
        "text": WORDS,
        "thought": st.booleans(),
        "thoughtSignature": WORDS,
        "functionCall": st.fixed_dictionaries({"name": WORDS}, optional={"id": WORDS}),
        "functionResponse": st.fixed_dictionaries({"name": WORDS}, optional={"id": WORDS}),
    },
)
CONTENT = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "model"]), "parts": st.lists(PART, max_size=4)}
)


@settings(max_examples=300, deadline=None)
@given(st.lists(CONTENT, max_size=6))
def test_results_stand_right_after_their_calls_and_ids_are_unique(contents):
    try:
        found = messages_request({"contents": contents}, "m", Notes(), max_tokens=9)
    except InvalidRequest:
        return
    calls: list[str] = []
    for before, message in zip([{}, *found["messages"]], found["messages"], strict=False):
        blocks = message["content"]
        made = [b["id"] for b in before.get("content", ()) if b["type"] == "tool_use"]
        told = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        assert set(told) <= set(made)
        assert len(set(told)) == len(told)
        assert [b["type"] for b in blocks[: len(told)]] == ["tool_result"] * len(told)
        assert message["role"] != before.get("role")
        calls += [b["id"] for b in blocks if b["type"] == "tool_use"]
    assert len(set(calls)) == len(calls)


def test_a_call_that_never_ends_is_an_error_and_not_all_of_the_memory():
    parts = Parts(names_of([]), shows_thoughts=False)
    tool = {"type": "tool_use", "id": "a", "name": "look", "input": {}}
    parts.event(event("content_block_start", index=0, content_block=tool))
    more = event(
        "content_block_delta",
        index=0,
        delta={"type": "input_json_delta", "partial_json": "x" * 2**20},
    )
    with pytest.raises(BackendProtocolError, match="longer than"):
        for _ in range(100):
            parts.event(more)
