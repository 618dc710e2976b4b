"""A real model in a real engine, asked as Gemini CLI asks: text, a tool's round trip, JSON."""

import orjson
import pytest

from plugway.testing import build_plugin
from plugway_demo_model import model_path
from plugway_llama_cpp import LlamaCpp

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(120)]

WRITE = {
    "name": "Write",
    "description": "Writes a file.",
    "parameters": {
        "type": "OBJECT",
        "properties": {"file_path": {"type": "STRING"}, "content": {"type": "STRING"}},
        "required": ["file_path", "content"],
    },
}
TOOLS = [{"functionDeclarations": [WRITE]}]
FORCED = {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["Write"]}}
ASK = {"role": "user", "parts": [{"text": "create hello.txt with the text hi"}]}


@pytest.fixture
async def local(serving, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = build_plugin(LlamaCpp, "local", model=str(model_path()), context=8192)
    async with serving(engine) as running:
        yield running


async def asked(local, **body):
    """The answers of a stream and all of their parts."""
    answer = await local.post(body, "streamGenerateContent", "local/default")
    assert answer.status_code == 200, answer.text
    answers = answer.json()
    return answers, [
        part
        for one in answers
        for part in one["candidates"][0]["content"]["parts"]
        if any(part.values())
    ]


async def test_a_tool_is_called_and_its_result_understood(local):
    answers, parts = await asked(local, contents=[ASK], tools=TOOLS, toolConfig=FORCED)
    call = parts[-1]["functionCall"]
    assert call["args"] == {"file_path": "hello.txt", "content": "hi"}
    assert answers[-1]["candidates"][0]["finishReason"] == "STOP"
    response = {
        "name": "Write",
        "id": call["id"],
        "response": {"output": "File created: hello.txt"},
    }
    contents = [
        ASK,
        {"role": "model", "parts": parts},
        {"role": "user", "parts": [{"functionResponse": response}]},
    ]
    after, parts = await asked(local, contents=contents, tools=TOOLS)
    assert "hello.txt" in "".join(part.get("text", "") for part in parts)
    assert after[-1]["usageMetadata"]["promptTokenCount"] > 50


async def test_an_answer_in_json_is_json(local):
    word = {"type": "STRING", "maxLength": "20"}  # or it may write on until it is cut
    schema = {"type": "OBJECT", "properties": {"word": word}, "required": ["word"]}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    _, parts = await asked(
        local, contents=[ASK], generationConfig={**config, "maxOutputTokens": 200}
    )
    found = orjson.loads("".join(part["text"] for part in parts))
    assert set(found) == {"word"}
    assert len(found["word"]) <= 20
    counted = await local.post({"contents": [ASK]}, "countTokens", "local/default")
    assert counted.json()["totalTokens"] > 5
