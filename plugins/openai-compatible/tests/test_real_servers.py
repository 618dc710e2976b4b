"""Servers that people run, behind the gateway: those of llama-cpp-python, mlx-lm and LiteLLM, and
Claude Code."""

import json

import anthropic
import anyio
import pytest
from chat_servers import environment, free_port, server
from usual_stack import stack

from plugway.testing import (
    ERRORS,
    ScriptedUpstream,
    anthropic_stream,
    build_plugin,
    gateway,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_demo_model import model_path, safetensors_path
from plugway_openai_wire.testing import chat_server, chat_stream
from plugway_thinking import Thinking
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(600)]

KEY = "sk-of-the-proxy-in-this-test"

READ = {
    "name": "Read",
    "description": "Reads a file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}

WRITE = {
    "name": "Write",
    "description": "Writes a file.",
    "input_schema": {
        "type": "object",
        "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}},
        "required": ["file_path", "content"],
    },
}
BASH = {
    "name": "Bash",
    "description": "Runs a command.",
    "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}},
}


@pytest.fixture
async def llama(tmp_path):
    """llama-cpp-python's own server with the demo model."""
    packages = ("fastapi", "pydantic-settings", "pyyaml", "sse-starlette", "starlette-context")
    python = environment("llama-cpp-server", *packages, "uvicorn", engine=True)
    port = free_port()
    command = [python, "-m", "llama_cpp.server", "--model", model_path(), "--port", port]
    command += ["--model_alias", "demo", "--n_ctx", 131072, "--n_threads", 2]
    async with server(command, tmp_path, port, "/v1/models") as url:
        yield url


@pytest.fixture
async def mlx(request, tmp_path):
    """mlx-lm's server with the demo model: its address, its model and its log.

    mlx-lm knows the format of calls by the chat template, and this one's not, unless it is told
    (`tool_parser_type`).
    """
    python = environment("mlx-lm", "mlx-lm", "mlx[cpu]")
    model = tmp_path / "demo"
    model.mkdir()
    for file in safetensors_path().iterdir():
        (model / file.name).symlink_to(file)
    if parser := getattr(request, "param", None):
        config = model / "tokenizer_config.json"
        told = json.loads(config.read_text()) | {"tool_parser_type": parser}
        config.unlink()
        config.write_text(json.dumps(told))
    (tmp_path / "hub").mkdir()  # without it the list of models is an empty answer
    port = free_port()
    command = [python.with_name("mlx_lm.server"), "--model", model, "--port", port]
    env = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    async with server(command, tmp_path, port, "/health", **env) as url:
        yield url, model, tmp_path / "server.log"


@pytest.fixture
async def litellm(tmp_path):
    """LiteLLM's proxy in front of a scripted upstream."""
    python = environment("litellm", "litellm[proxy]")
    port = free_port()
    async with ScriptedUpstream(
        otherwise=chat_server("On it.", tool_calls=[("call_1", "Read", '{"path": "a"}')])
    ) as upstream:
        config = tmp_path / "litellm.yaml"
        config.write_text(
            "model_list:\n- model_name: demo\n  litellm_params: "
            f"{{model: openai/up, api_base: '{upstream.url}/v1', api_key: none}}\n"
            "litellm_settings: {num_retries: 0, telemetry: false}\n"
        )
        command = [python.with_name("litellm"), "--config", config, "--port", port]
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
        async with server(command, tmp_path, port, "/health/liveliness", **env) as url:
            yield url, upstream


@pytest.mark.slow
async def test_llama_cpp_python_answers_streamed_and_whole(llama):
    async with gateway(stack(llama, preset="llama-cpp-python")) as running:
        asked = {"model": "up/demo", "temperature": 0}
        whole = await running.ask("what is plugway?", **asked)
        events = await running.stream("what is plugway?", **asked)
        models = (await running.client.get("/v1/models")).json()["data"]
    text = "".join(
        data["delta"].get("text", "") for name, data in events if name == "content_block_delta"
    )
    assert "Plugway" in whole["content"][0]["text"]
    assert text == whole["content"][0]["text"]
    assert whole["usage"]["input_tokens"] > 0
    assert [model["id"] for model in models] == ["anthropic/up/demo"]


@pytest.mark.slow
async def test_claude_code_writes_a_file_with_llama_cpp_python(llama, tmp_path):
    async with gateway(stack(llama, preset="llama-cpp-python")) as running:
        claude = Claude(tmp_path, running.url, running.token, "anthropic/up/demo")
        done = await claude.run(
            "-p",
            "create hello.txt with the text hi",
            "--permission-mode",
            "acceptEdits",
            seconds=400,
        )
    path = claude.project / "hello.txt"
    assert path.exists(), done.out + done.err
    assert path.read_text() == "hi", done.out


@pytest.mark.slow
async def test_mlx_lm_answers_streamed_and_whole_and_lists_its_model(mlx):
    url, model, _ = mlx
    async with gateway(stack(url, preset="mlx-lm")) as running:
        models = (await running.client.get("/v1/models")).json()["data"]
        asked = {"model": models[0]["id"], "temperature": 0, "top_k": 5}
        whole = await running.ask("what is plugway?", **asked)
        events = await running.stream("what is plugway?", **asked)
        default = await running.ask("what is plugway?", **asked | {"model": "up/default_model"})
    text = "".join(
        data["delta"].get("text", "") for name, data in events if name == "content_block_delta"
    )
    assert [model["id"] for model in models] == [f"anthropic/up/{model}"]
    assert "Plugway" in text
    assert whole["content"] == default["content"] == [{"type": "text", "text": text}]
    assert whole["stop_reason"] == "end_turn"
    (counted,) = [data["usage"] for name, data in events if name == "message_delta"]
    assert counted["output_tokens"] == whole["usage"]["output_tokens"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "mlx", [None, "json_tools"], ids=["calls as text", "calls parsed"], indirect=True
)
async def test_mlx_lm_carries_a_tool_round_trip(mlx):
    url, _, _ = mlx
    async with (
        gateway(stack(url, preset="mlx-lm")) as running,
        anthropic.AsyncAnthropic(
            base_url=running.url, api_key=running.token, max_retries=0
        ) as client,
    ):
        turns = [{"role": "user", "content": "create hello.txt with the text hi"}]
        asked = {"model": "up/default_model", "max_tokens": 200, "messages": turns}
        asked |= {"tools": [WRITE, BASH]}
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
        whole = await client.messages.create(**asked)
        for message in (streamed, whole):
            (call,) = message.content
            assert (message.stop_reason, call.name) == ("tool_use", "Write")
            assert call.input == {"file_path": "hello.txt", "content": "hi"}
        result = {"type": "tool_result", "tool_use_id": call.id, "content": "File created."}
        turns += [
            {"role": "assistant", "content": whole.content},
            {"role": "user", "content": [result]},
        ]
        done = await client.messages.create(**asked)
    assert done.stop_reason == "end_turn"
    assert "hello.txt" in done.content[0].text


@pytest.mark.slow
async def test_mlx_lm_gets_words_for_an_image_and_its_errors_are_told(mlx):
    url, _, _ = mlx
    image = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    parts = [{"type": "image", "source": image}, {"type": "text", "text": "what is plugway?"}]
    body = {"max_tokens": 100, "messages": [{"role": "user", "content": parts}]}
    async with gateway(stack(url, preset="mlx-lm", learn=False)) as running:
        seen = await running.post({**body, "model": "up/default_model"})
        unknown = await running.post({**body, "model": "up/nobody/nothing"})
    assert seen.status_code == 200, seen.text
    assert unknown.status_code == 404, unknown.text
    error = unknown.json()["error"]
    assert error["type"] == "not_found_error"


@pytest.mark.slow
async def test_a_client_that_leaves_ends_the_work_of_mlx_lm(mlx):
    url, _, log = mlx
    endless = {"logit_bias": {"2": -1000}}  # never the token that ends an answer
    body = {"model": "up/default_model", "max_tokens": 100_000, "stream": True}
    body["messages"] = [{"role": "user", "content": "what is plugway?"}]
    async with gateway(stack(url, preset="mlx-lm", extra_body=endless)) as running:
        async with running.client.stream("POST", "/v1/messages", json=body) as reply:
            lines = reply.aiter_lines()
            for _ in range(1000):
                assert await anext(lines) is not None
        with anyio.fail_after(20):
            while "BrokenPipeError" not in log.read_text():  # it writes to a peer that has left
                await anyio.sleep(0.05)
        after = await running.ask("what is plugway?", model="up/default_model", max_tokens=5)
    assert after["stop_reason"] == "max_tokens"


@pytest.mark.slow
async def test_litellm_carries_a_tool_round_trip(litellm):
    url, upstream = litellm
    async with (
        gateway(stack(url, preset="litellm", api_key=KEY)) as running,
        anthropic.AsyncAnthropic(
            base_url=running.url, api_key=running.token, max_retries=0
        ) as client,
    ):
        turns = [{"role": "user", "content": "read a"}]
        asked = {"model": "up/demo", "max_tokens": 100, "tools": [READ], "messages": turns}
        async with client.messages.stream(**asked) as stream:
            first = await stream.get_final_message()
        assert [block.type for block in first.content] == ["text", "tool_use"]
        assert first.content[1].input == {"path": "a"}
        assert (first.usage.input_tokens, first.usage.output_tokens) == (12, 5)
        result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "A"}
        turns += [
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        whole = await client.messages.create(**asked)
        assert whole.stop_reason == "tool_use"
    sent = upstream.requests[-1].json["messages"]
    assert [m["role"] for m in sent] == ["user", "assistant", "tool"]
    assert sent[2]["content"] == "A"


@pytest.mark.slow
async def test_litellms_errors_are_told_in_the_clients_words(litellm):
    url, upstream = litellm
    async with gateway(stack(url, preset="litellm", api_key=KEY, learn=False)) as running:
        body = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        unknown = await running.post({**body, "model": "up/nobody"})
        upstream.script(ERRORS["openai.context_overflow"].script())
        too_long = await running.post({**body, "model": "up/demo"})
    assert (unknown.status_code, too_long.status_code) in {(404, 400), (400, 400)}
    assert "prompt is too long" in too_long.json()["error"]["message"]


@pytest.mark.lenient("chat.known_fields")
async def test_claude_code_makes_a_tool_round_trip_over_chat_completions(tmp_path):
    target = tmp_path / "project" / "hello.txt"
    arguments = f'{{"file_path": "{target}", "content": "hi"}}'
    call = ("call_1", "Write", arguments)
    answers = [
        sse(chat_stream("Writing.", thinking="Simple.", tool_calls=[call])),
        sse(chat_stream("Done: it is written.")),
    ]

    def answer(request):
        tools = request.json.get("tools") or []
        if request.method == "POST" and any(t["function"]["name"] == "Write" for t in tools):
            return answers.pop(0)
        return chat_server("A title.")(request)

    async with (
        ScriptedUpstream(otherwise=answer) as upstream,
        gateway(stack(upstream.url)) as running,
    ):
        claude = Claude(tmp_path, running.url, running.token, "anthropic/up/m")
        done = await claude.run("-p", "write it", "--permission-mode", "acceptEdits")
    assert target.read_text() == "hi", done.out + done.err
    assert "Done: it is written." in done.out
    last = upstream.requests[-1].json["messages"]
    (called,) = [m for m in last if m.get("tool_calls")]
    assert called["reasoning_content"] == "Simple."
    assert [m["tool_call_id"] for m in last if m["role"] == "tool"] == [
        called["tool_calls"][0]["id"]
    ]


@pytest.mark.lenient("chat.known_fields")
async def test_a_conversation_of_claude_code_leaves_for_chat_completions_and_returns(tmp_path):
    target = tmp_path / "project" / "hello.txt"
    call = ("call_1", "Write", f'{{"file_path": "{target}", "content": "hi"}}')
    answers = [
        sse(chat_stream("Writing.", thinking="Simple.", tool_calls=[call])),
        sse(chat_stream("It is written.", thinking="Said.")),
    ]

    def answer(request):
        return answers.pop(0) if request.json.get("tools") else chat_server("A title.")(request)

    def native(request):
        return sse(anthropic_stream("I am at home.", thinking="Home."))

    async with (
        ScriptedUpstream(otherwise=answer) as away,
        ScriptedUpstream(otherwise=native) as home,
    ):
        plugins = stack(away.url)
        plugins[0] = build_plugin(Thinking, "thinking", native=("home",))
        plugins.append(build_plugin(AnthropicCompatible, "home", base_url=home.url))
        async with gateway(plugins) as running:
            claude = Claude(tmp_path, running.url, running.token, "anthropic/home/m")
            await claude.run("-p", "hello")
            write = ("-c", "-p", "write it", "--permission-mode", "acceptEdits")
            second = await claude.run(*write, "--model", "anthropic/up/m")
            third = await claude.run("-c", "-p", "are you back?", "--model", "anthropic/home/m")
    assert "It is written." in second.out
    assert "I am at home." in third.out, third.out + third.err
    chat = [r.json["messages"] for r in away.requests if r.json.get("tools")][-1]
    assert "Home." not in str(chat)
    assert "I am at home." in str(chat)
    assert [m["reasoning_content"] for m in chat if m.get("tool_calls")] == ["Simple."]
    back = [r.json["messages"] for r in home.requests if r.json.get("tools")][-1]
    blocks = [b for m in back if isinstance(m["content"], list) for b in m["content"]]
    thoughts = [b["thinking"] for b in blocks if b["type"] == "thinking"]
    assert thoughts == ["Home."]
    (used,) = [b for b in blocks if b["type"] == "tool_use"]
    (result,) = [b for b in blocks if b["type"] == "tool_result"]
    assert used["id"] == result["tool_use_id"] == "call_1"
