"""The real `google-genai` SDK in front of Gemini: it reads what only Gemini's replies contain."""

import pytest
from gemini_answers import SIGNATURE, USAGE, call, piece, refused, sse, text, whole

from plugway.testing import StrictUpstream, build_plugin, respond
from plugway_error_normalizer import ErrorNormalizer
from plugway_gemini import Gemini

genai = pytest.importorskip("google.genai", reason="google-genai is not installed")
types = genai.types
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
MODEL = "google/gemini-3-pro"
IMAGE = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
OUTPUT = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1\n"}}
GROUNDS = {"webSearchQueries": ["sky"], "groundingChunks": [{"web": {"uri": "https://a.example"}}]}
LOGPROBS = {"chosenCandidates": [{"token": "a", "logProbability": -0.25}]}
ALPHABET = str.maketrans("-_", "+/")
"""The SDK encodes signatures again, in the alphabet of URLs."""
SSE = {"content-type": "text/event-stream"}
RATINGS = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}]
BESIDE = {"groundingMetadata": GROUNDS, "logprobsResult": LOGPROBS, "safetyRatings": RATINGS}


@pytest.fixture
async def google():
    """A strict server of Gemini's API that answers with `upstream.said`."""

    def otherwise(request):
        if ":countTokens" in request.path:
            return respond(200, {"totalTokens": 42, "cachedContentTokenCount": 40})
        return upstream.said.pop(0) if request.method == "POST" else respond(200, {"models": []})

    async with StrictUpstream("gemini", otherwise=otherwise) as upstream:
        upstream.said = []
        yield upstream


@pytest.fixture
async def client(serving, google):
    """The SDK's asynchronous client, with the gateway's token as its key."""
    backend = build_plugin(Gemini, "google", base_url=google.url, api_key="k")
    layers = [build_plugin(ErrorNormalizer, "error-normalizer")]
    async with serving(backend, between=layers) as running:
        options = types.HttpOptions(base_url=running.gate.url, async_client_args={"verify": False})
        made = genai.Client(api_key=running.gate.token, http_options=options)
        yield made.aio
        await made.aio.aclose()
        made.close()


def read(candidate):
    """What the parts of a reply contain, by its kind."""
    parts = candidate.content.parts
    return {name: value for part in parts for name, value in part if value is not None}


async def test_an_image_code_sources_and_log_probabilities(google, client):
    google.said.append(whole(piece(IMAGE, CODE, OUTPUT, finish="STOP", usage=USAGE, **BESIDE)))
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"],
        response_logprobs=True,
        tools=[types.Tool(google_search=types.GoogleSearch())],
    )
    answer = await client.models.generate_content(model=MODEL, contents="hi", config=config)
    found, candidate = read(answer.candidates[0]), answer.candidates[0]
    assert found["inline_data"].data == b"\x89PNG\r\n\x1a\n"
    assert found["executable_code"].code == "print(1)"
    assert found["code_execution_result"].output == "1\n"
    assert candidate.grounding_metadata.grounding_chunks[0].web.uri == "https://a.example"
    assert candidate.logprobs_result.chosen_candidates[0].log_probability == -0.25
    assert candidate.safety_ratings[0].probability == "LOW"
    assert answer.usage_metadata.thoughts_token_count == 30
    sent = google.requests[-1].json
    assert sent["generationConfig"]["responseModalities"] == ["TEXT", "IMAGE"]
    assert sent["tools"] == [{"googleSearch": {}}]
    assert google.refused == []


async def test_a_streamed_chat_returns_googles_own_signature(google, client):
    signed = call("look", {"at": "a"}, id_="c1", thoughtSignature=SIGNATURE)
    google.said += [
        respond(200, sse(piece(text("I look.")), piece(signed, finish="STOP")), SSE),
        respond(200, sse(piece(text("Red."), finish="STOP")), SSE),
    ]
    declared = types.FunctionDeclaration(name="look", parameters={"type": "OBJECT"})
    tools = [types.Tool(function_declarations=[declared])]
    chat = client.chats.create(model=MODEL, config=types.GenerateContentConfig(tools=tools))
    chunks = [one async for one in await chat.send_message_stream("hi")]
    (made,) = [made for one in chunks for made in one.function_calls or ()]
    assert (made.name, made.args, made.id) == ("look", {"at": "a"}, "c1")
    result = types.FunctionResponse(id="c1", name="look", response={"output": "red"})
    part = types.Part(function_response=result)
    chunks = [one async for one in await chat.send_message_stream([part])]
    assert "".join(one.text or "" for one in chunks) == "Red."
    parts = [part for turn in google.requests[-1].json["contents"] for part in turn["parts"]]
    (again,) = [part for part in parts if "functionCall" in part]
    assert again["thoughtSignature"].translate(ALPHABET) == SIGNATURE
    assert google.refused == []


async def test_a_count_and_an_error_are_googles(google, client):
    counted = await client.models.count_tokens(model=MODEL, contents="hi")
    assert (counted.total_tokens, counted.cached_content_token_count) == (42, 40)
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
    google.said += [refused(429, "Quota exceeded.", "RESOURCE_EXHAUSTED", details)] * 5
    with pytest.raises(genai.errors.ClientError) as raised:
        await client.models.generate_content(model=MODEL, contents="hi")
    assert raised.value.details["error"]["details"] == details
