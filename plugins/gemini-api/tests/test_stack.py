"""In the shipped stack: nothing in between breaks what is translated, and Gemini gets back its own."""

import pytest
from gemini_answers import SIGNATURE, Google, piece
from gemini_answers import call as gemini_call
from gemini_answers import text as gemini_text

from plugway.testing import ScriptedUpstream, build_plugin, respond
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_local_answers import LocalAnswers
from plugway_resilience import Resilience
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
LAYERS = (
    *(LocalAnswers, Thinking, Resilience, ErrorNormalizer),
    *(ToolRepair, ContextGuard, FieldPolicy),
)
USER = {"role": "user", "parts": [{"text": "hi"}]}
TOOLS = [{"functionDeclarations": [{"name": "look"}]}]


@pytest.fixture
async def google(serving):
    """The shipped layers in front of Google's API as a backend."""
    said = Google()
    async with ScriptedUpstream(otherwise=said) as up:
        layers = [build_plugin(layer, layer.__name__.lower()) for layer in LAYERS]
        options = {"base_url": up.url, "api_key": "k"}
        backend = build_plugin(Gemini, "google", **options)
        async with serving(backend, between=layers, upstream=up) as running:
            running.said = said
            yield running


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
async def test_googles_own_signature_comes_back_to_google_byte_for_byte(google, method):
    signed = gemini_call("look", {"at": "a"}, id_="c1", thoughtSignature=SIGNATURE)

    google.said.next = [
        (piece(gemini_text("I look."), signed, finish="STOP"),),
        (piece(gemini_text("Oh."), finish="STOP"),),
    ]
    asked = {"contents": [USER], "tools": TOOLS}
    given = await google.post(asked, method, "google/gemini-3-pro")
    assert given.status_code == 200, given.text
    answers = given.json() if method.startswith("stream") else [given.json()]
    parts = [part for one in answers for part in one["candidates"][0]["content"]["parts"]]
    (call,) = [part for part in parts if "functionCall" in part]
    as_array = method.startswith("stream")  # a stream of that form is translated
    assert (call["thoughtSignature"] == SIGNATURE) is not as_array
    result = {"functionResponse": {"name": "look", "id": call["functionCall"]["id"]}}
    result["functionResponse"]["response"] = {"error": "gone"}
    contents = [USER, {"role": "model", "parts": [call]}, {"role": "user", "parts": [result]}]
    done = await google.post({**asked, "contents": contents}, method, "google/gemini-3-pro")
    assert done.status_code == 200, done.text
    sent = google.upstream.requests[-1].json["contents"]
    assert sent[1]["parts"][0]["thoughtSignature"] == SIGNATURE
    assert sent[1]["parts"][0]["functionCall"] == signed["functionCall"]
    assert sent[2]["parts"][0]["functionResponse"]["response"] == {"error": "gone"}


async def test_googles_tools_and_filters_reach_google(google):
    body = {"contents": [USER], "tools": [{"googleSearch": {}}], "safetySettings": [{"x": 1}]}
    told = (await google.post(body, "generateContent/explain", "google/gemini-3-pro")).json()
    assert told["upstream_request"]["body"] == body
    assert [line for line in told["receipt"] if line["stage"] == "decode"] == []


async def test_a_prompt_that_is_too_long_is_a_400_of_google(google):
    refusal = {"error": {"code": 400, "status": "INVALID_ARGUMENT"}}
    refusal["error"]["message"] = (
        "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
    )
    google.said.next = [respond(400, refusal)] * 2
    answer = await google.post({"contents": [USER]}, model="google/gemini-3-pro")
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert "exceeds the maximum number of tokens allowed" in error["message"]


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
async def test_json_without_a_schema_is_requested_of_google_as_such(google, method):
    google.said.next = [(piece(gemini_text("{}"), finish="STOP"),)]
    config = {"responseMimeType": "application/json"}
    answer = await google.generate(method, contents=[USER], generationConfig=config)
    assert answer.status_code == 200
    sent = google.asked["generationConfig"]
    assert sent["responseMimeType"] == "application/json"
    assert "responseSchema" not in sent
