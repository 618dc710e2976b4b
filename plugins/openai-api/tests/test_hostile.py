"""Whatever is sent, the answer is OpenAI's envelope and never a defect."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugway import InvalidRequest
from plugway.testing import build_plugin
from plugway_echo import Echo
from plugway_openai_api._chat_request import chat_request
from plugway_openai_api._policy import CHAT, RESPONSES, refusal
from plugway_openai_api._responses_request import responses_request
from plugway_translation import Notes

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
PATHS = ["/v1/chat/completions", "/v1/responses"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"model": "m"} trailing',
        b'{"model": "m", "messages": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"model": ["m"], "messages": {}, "input": {}}',
        b'{"model": "", "messages": [{"role": "user", "content": "x"}], "input": "x"}',
    ],
)
async def test_what_is_no_request_is_a_400(echo, path, body):
    response = await echo.gate.post(body, path)
    assert response.status_code == 400
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_is_too_large_is_a_413(serving, path):
    async with serving(build_plugin(Echo, "echo"), max_body_bytes=2000) as running:
        response = await running.gate.post(b'{"x": "' + b"y" * 3000 + b'"}', path)
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


async def test_a_large_conversation_is_served(echo):
    turns = [{"role": "user", "content": "x" * 1000}, {"role": "assistant", "content": "y"}] * 1500
    turns.append({"role": "user", "content": "last words"})
    response = await echo.gate.post({"model": "m", "messages": turns}, PATHS[0])
    assert response.status_code == 200
    assert "last words" in response.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path", PATHS)
async def test_another_content_type_is_told_in_openais_words(echo, path):
    response = await echo.gate.client.post(
        path, content=b"x", headers={"content-type": "text/plain"}
    )
    assert response.status_code == 415
    assert response.json()["error"]["type"] == "invalid_request_error"


NAMES = [*CHAT, *RESPONSES, "role", "content", "type", "text", "id", "call_id", "name", "function"]
NAMES += ["tool_calls", "arguments", "image_url", "url", "file", "output", "tool_call_id", "schema"]
TYPES = ["text", "image_url", "file", "function", "custom", "message", "function_call", "reasoning"]
TYPES += ["function_call_output", "json_schema", "allowed_tools", "namespace", "input_image"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from([*TYPES, "user", "assistant", "system", "tool", "auto", "required", "high"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=25,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6).map(
    lambda body: {"model": "m", "messages": [], "input": [], **body}
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODIES)
def test_any_json_is_translated_or_refused(body):
    for read, table in ((chat_request, CHAT), (responses_request, RESPONSES)):
        notes = Notes()
        try:
            found = read(body, notes, max_tokens=1)
        except InvalidRequest:
            continue
        orjson.dumps(found)
        assert found["model"]
        assert all(line for line in notes.lines())
        refusal(body, table)
