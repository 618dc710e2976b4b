"""The real `google-genai` SDK through the gateway: what it asks arrives, what comes back it
understands."""

import pytest

from plugway.testing import (
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    respond,
    sse,
)

genai = pytest.importorskip("google.genai", reason="google-genai is not installed")
types = genai.types
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MODEL = "claude/m"
USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 30,
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4},
}


@pytest.fixture
async def client(claude):
    """The SDK's asynchronous client, with the gateway's token as its key."""
    options = types.HttpOptions(base_url=claude.gate.url, async_client_args={"verify": False})
    made = genai.Client(api_key=claude.gate.token, http_options=options)
    yield made.aio
    await made.aio.aclose()
    made.close()


def look(at: str) -> str:
    """Looks at something."""
    return f"{at} is red"


async def test_an_answer_and_its_usage(claude, client):
    claude.upstream.script(respond(200, anthropic_message("Hello.", thinking="hm", usage=USAGE)))
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_k=40,
        max_output_tokens=50,
        stop_sequences=["x"],
        safety_settings=[
            types.SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE")
        ],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_budget=2000),
    )
    answer = await client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert answer.text == "Hello."
    assert [part.text for part in answer.parts if part.thought] == ["hm"]
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.cached_content_token_count) == (35, 30)
    assert (usage.candidates_token_count, usage.thoughts_token_count) == (5, 4)
    asked = claude.asked
    assert (asked["model"], asked["max_tokens"], asked["top_k"]) == ("m", 50, 40)
    assert asked["system"] == [{"type": "text", "text": "Be brief."}]
    assert asked["thinking"] == {"type": "adaptive", "display": "summarized"}


async def test_a_chat_keeps_pieces_and_thinking_over_a_call(claude, client):
    config = types.GenerateContentConfig(
        tools=[
            types.Tool(
                function_declarations=[
                    types.FunctionDeclaration(
                        name="look",
                        parameters=types.Schema(
                            type="OBJECT", properties={"at": types.Schema(type="STRING")}
                        ),
                    )
                ]
            )
        ],
    )
    calls = [("look", {"at": "a"})]
    pieces = ["I ", "look."]
    claude.upstream.script(sse(anthropic_stream(pieces, thinking="hm", tool_calls=calls)))
    chat = client.chats.create(model=MODEL, config=config)
    found = [one async for one in await chat.send_message_stream("hi")]
    (call,) = [call for one in found for call in one.function_calls or ()]
    assert (call.name, call.args) == ("look", {"at": "a"})
    claude.upstream.script(sse(anthropic_stream("It is red.")))
    result = types.Part.from_function_response(name="look", response={"result": "red"})
    found = [one async for one in await chat.send_message_stream([result])]
    assert "".join(one.text or "" for one in found) == "It is red."
    _, said, told = claude.asked["messages"]
    assert [block["type"] for block in said["content"]] == ["thinking", "text", "tool_use"]
    assert said["content"][1]["text"] == "I look."
    assert told["content"][0]["tool_use_id"] == said["content"][2]["id"]


async def test_python_functions_are_called_by_the_sdk_itself(claude, client):
    calls = [("look", {"at": "the sky"})]
    claude.upstream.script(respond(200, anthropic_message("", tool_calls=calls)))
    claude.upstream.script(respond(200, anthropic_message("It is red.")))
    config = types.GenerateContentConfig(tools=[look])
    answer = await client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert answer.text == "It is red."
    assert claude.asked["tools"][0]["input_schema"]["properties"] == {"at": {"type": "string"}}
    (result,) = claude.asked["messages"][-1]["content"]
    assert result["content"] == [{"type": "text", "text": "the sky is red"}]


async def test_an_answer_in_the_shape_of_a_class(claude, client):
    from pydantic import BaseModel

    class Recipe(BaseModel):
        name: str
        steps: list[str]

    claude.upstream.script(respond(200, anthropic_message('{"name": "tea", "steps": ["boil"]}')))
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_schema=Recipe
    )
    answer = await client.models.generate_content(model=MODEL, contents="hi", config=config)
    assert answer.parsed == Recipe(name="tea", steps=["boil"])
    schema = claude.asked["output_config"]["format"]["schema"]
    assert schema["required"] == ["name", "steps"]
    assert schema["additionalProperties"] is False


async def test_images_arrive_as_they_were(claude, client):
    claude.upstream.script(respond(200, anthropic_message("An image.")))
    raw = bytes(range(256))
    part = types.Part.from_bytes(data=raw, mime_type="image/png")
    await client.models.generate_content(model=MODEL, contents=[part, "what is it?"])
    import base64

    source = claude.asked["messages"][0]["content"][0]["source"]
    assert base64.b64decode(source["data"], validate=True) == raw


async def test_counts_and_lists(claude, client):
    claude.upstream.script(respond(200, {"input_tokens": 17}))
    counted = await client.models.count_tokens(model=MODEL, contents="hi")
    assert counted.total_tokens == 17
    listed = [model async for model in await client.models.list()]
    assert [model.name for model in listed] == ["models/anthropic/claude/m"]
    claude.upstream.script(respond(200, anthropic_message("Hello.")))
    answer = await client.models.generate_content(model=listed[0].name, contents="hi")
    assert answer.text == "Hello."
    one = await client.models.get(model=listed[0].name)
    assert one.display_name == listed[0].display_name


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [(429, "rate_limit_error", "RESOURCE_EXHAUSTED"), (404, "not_found_error", "NOT_FOUND")],
)
async def test_failures_are_exceptions_with_their_status(
    claude, client, status, kind, word, stream
):
    claude.upstream.script(anthropic_error(status, kind, "it is so"))
    with pytest.raises(genai.errors.ClientError) as raised:
        if stream:
            asked = client.models.generate_content_stream(model=MODEL, contents="hi")
            _ = [one async for one in await asked]
        else:
            await client.models.generate_content(model=MODEL, contents="hi")
    assert (raised.value.code, raised.value.status) == (status, word)
    assert "it is so" in raised.value.message
