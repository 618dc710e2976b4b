"""Embeddings in Google's words, from a server of OpenAI's kind and from Google's own."""

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, respond
from plugway_gemini import Gemini
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def vectors(request):
    """Each vector begins with the length of its text."""
    if request.path.endswith(":batchEmbedContents"):
        texts = [one["content"]["parts"][0]["text"] for one in request.json["requests"]]
        return respond(200, {"embeddings": [{"values": [len(text), 0.5]} for text in texts]})
    data = [
        {"index": at, "embedding": [len(one), 0.5]} for at, one in enumerate(request.json["input"])
    ]
    return respond(200, {"data": data})


@pytest.fixture
async def up(serving):
    """`up` is a server of OpenAI's API, `google` one of Google's, on one upstream."""
    async with ScriptedUpstream(otherwise=vectors) as upstream:
        others = build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1")
        google = build_plugin(Gemini, "google", base_url=upstream.url, api_key="k")
        chat = build_plugin(OpenAIApi, "openai-api")
        async with serving(others, google, between=[chat], upstream=upstream) as running:
            yield running


def content(*texts):
    return {"parts": [{"text": text} for text in texts]}


@pytest.mark.parametrize("model", ["up/e", "google/e"])
async def test_one_content_and_a_batch_of_them(up, model):
    one = await up.post({"content": content("a", "bc")}, "embedContent", model)
    assert one.json() == {"embedding": {"values": [3, 0.5]}}
    requests = [{"model": "models/e", "content": content(text)} for text in ("a", "bcd")]
    many = await up.post({"requests": requests}, "batchEmbedContents", model)
    assert [found["values"][0] for found in many.json()["embeddings"]] == [1, 3]
    assert f"served-by={model}" in many.headers["plugway-receipt"]


async def test_settings_go_to_google_and_are_on_the_receipt_elsewhere(up):
    settings = {"taskType": "RETRIEVAL_QUERY", "title": "t", "output_dimensionality": 2}
    body = {"content": content("a"), **settings}
    assert (await up.post(body, "embedContent", "google/e")).status_code == 200
    (sent,) = up.asked["requests"]
    assert (sent["taskType"], sent["title"], sent["outputDimensionality"]) == (
        "RETRIEVAL_QUERY",
        "t",
        2,
    )
    assert sent["model"] == "models/e"
    answer = await up.post(body, "embedContent", "up/e")
    assert up.asked == {"model": "e", "input": ["a"], "dimensions": 2}
    assert "changes=1" in answer.headers["plugway-receipt"]


async def test_a_client_of_openais_api_is_served_by_google(up):
    body = {"model": "google/e", "input": ["a", "bc"]}
    answer = await up.gate.post(body, "/v1/embeddings")
    assert [one["embedding"] for one in answer.json()["data"]] == [[1, 0.5], [2, 0.5]]
    refused = await up.gate.post({"model": "google/e", "input": [[1, 2]]}, "/v1/embeddings")
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("method", "body", "where"),
    [
        ("embedContent", {}, "texts"),
        ("embedContent", {"content": 1}, "content"),
        ("embedContent", {"content": {"parts": [{"inlineData": {}}]}}, "parts"),
        ("embedContent", {"content": content("a"), "outputDimensionality": 0}, "Dimensionality"),
        ("batchEmbedContents", {}, "requests"),
        ("batchEmbedContents", {"requests": [1]}, "requests"),
        (
            "batchEmbedContents",
            {"requests": [{"content": content("a")}, {"content": content("b"), "title": "x"}]},
            "same settings",
        ),
    ],
)
async def test_what_is_wrong_is_a_400(up, method, body, where):
    answer = await up.post(body, method, "up/e")
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert where in error["message"]


async def test_failures_are_in_googles_envelope(up):
    gone = await up.post({"content": content("a")}, "embedContent", "anthropic/gone/e")
    assert (gone.status_code, gone.json()["error"]["status"]) == (404, "NOT_FOUND")
    up.upstream.script(respond(200, {"embeddings": []}))
    broken = await up.post({"content": content("a")}, "embedContent", "google/e")
    assert (broken.status_code, broken.json()["error"]["status"]) == (502, "UNAVAILABLE")


async def test_googles_sdk_understands_the_answer(up):
    genai = pytest.importorskip("google.genai", reason="google-genai is not installed")
    options = genai.types.HttpOptions(base_url=up.gate.url, async_client_args={"verify": False})
    client = genai.Client(api_key=up.gate.token, http_options=options)
    config = genai.types.EmbedContentConfig(output_dimensionality=2)
    found = await client.aio.models.embed_content(model="up/e", contents=["a", "bc"], config=config)
    await client.aio.aclose()
    client.close()
    assert [one.values for one in found.embeddings] == [[1, 0.5], [2, 0.5]]
