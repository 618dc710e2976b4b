"""Ollama: the window that a model really has, load state, cloud models, errors."""

import json

import pytest

from plugway import NoOptions, Plugin, Route, hookimpl
from plugway.testing import (
    ERRORS,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_ollama import Ollama
from plugway_ollama._models import asked_window, is_cloud_name, trained_window

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def tag(name, **fields):
    """An entry of `/api/tags` as Ollama's API reference shows it."""
    entry = {
        "name": name,
        "model": name,
        "modified_at": "2026-05-04T14:56:49.277302595-07:00",
        "size": 5_225_388_164,
        "digest": f"digest of {name}",
        "details": {"format": "gguf", "family": "qwen3", "parameter_size": "8.2B"},
    }
    return {**entry, **fields}


def shown(window=40960, parameters="", capabilities=("completion", "tools", "thinking")):
    """An answer of `/api/show`."""
    return {
        "license": "...",
        "parameters": parameters,
        "model_info": {
            "general.architecture": "qwen3",
            "qwen3.context_length": window,
            "qwen3.embedding_length": 4096,
        },
        "capabilities": list(capabilities),
    }


class Server:
    """Answers Ollama's own routes from tables."""

    def __init__(self):
        self.tags, self.running, self.shown = [], [], {}
        self.cannot_make = False

    def __call__(self, request):
        if request.path == "/api/tags":
            return respond(200, {"models": self.tags})
        if request.path == "/api/ps":
            return respond(200, {"models": self.running})
        if request.path == "/api/create":
            made = request.json
            if self.cannot_make:
                return respond(400, {"error": "invalid model name"})
            if self.shown.get(made["from"]) is None:
                raise AssertionError("Ollama would pull it")
            self.tags.append(tag(made["model"]))
            window = made["parameters"]["num_ctx"]
            self.shown[made["model"]] = shown(parameters=f"num_ctx {window}")
            return respond(200, {"status": "success"})
        if request.path == "/v1/messages":
            known = request.json["model"] in self.shown
            answer = anthropic_message("Hello.", model=request.json["model"])
            missing = {"type": "error", "error": {"type": "not_found_error", "message": "no model"}}
            return respond(200, answer) if known else respond(404, missing)
        if request.path == "/api/show":
            found = self.shown.get(request.json["model"])
            return respond(200, found) if found else respond(404, {"error": "model not found"})
        return respond(404, b"404 page not found", {"content-type": "text/plain"})


@pytest.fixture
async def server():
    says = Server()
    async with ScriptedUpstream(otherwise=says) as found:
        found.says = says
        yield found


async def models(server, **options):
    made = build_plugin(Ollama, "ollama", base_url=server.url, **options)
    async with made.backend:
        return {info.id: info for info in await made.backend.models()}


def test_it_is_on_this_machine_unless_told():
    made = build_plugin(Ollama, "ollama")
    assert made.backend.upstream.base_url == "http://127.0.0.1:11434"
    assert made.backend.zone == "local"


@pytest.mark.parametrize(
    ("parameters", "running", "options", "window"),
    [
        ("", None, {}, 4096),
        ("", None, {"default_context_tokens": 65536}, 40960),
        ("", None, {"default_context_tokens": 32768}, 32768),
        ('num_ctx                        16384\nstop    "<|im_end|>"', None, {}, 16384),
        ("num_ctx 99999999", None, {}, 40960),
        ("num_ctx 16384", 8192, {}, 8192),
        ("", 32768, {}, 32768),
    ],
    ids=[
        "the server's default",
        "never more than the model was made for",
        "a default that is set",
        "num_ctx of the model",
        "an absurd num_ctx",
        "what is loaded wins",
        "loaded with more than the default",
    ],
)
async def test_the_window_is_the_one_that_is_used(server, parameters, running, options, window):
    server.says.tags = [tag("qwen3:8b")]
    server.says.shown = {"qwen3:8b": shown(parameters=parameters)}
    if running:
        server.says.running = [tag("qwen3:8b", context_length=running, size_vram=1)]
    info = (await models(server, **options))["qwen3:8b"]
    assert info.context_tokens == window
    assert info.state == ("loaded" if running else "unloaded")
    assert info.capabilities == {"tools", "thinking"}
    assert info.extra == {"trained_context_tokens": 40960, "cuts_prompts": True}


@pytest.mark.parametrize(
    ("able", "toolless"), [(("completion",), True), (("completion", "tools"), False), ((), False)]
)
async def test_a_model_without_tools_says_so_before_the_first_prompt(server, able, toolless):
    server.says.tags = [tag("qwen3:8b")]
    server.says.shown = {"qwen3:8b": shown(capabilities=able)}
    info = (await models(server))["qwen3:8b"]
    assert ("`qwen3:8b` cannot call tools" in info.notice) is toolless


async def test_a_model_that_cannot_be_shown_has_the_default_window(server):
    server.says.tags = [tag("odd"), tag("fine")]
    server.says.shown = {"fine": shown()}
    found = await models(server)
    assert [found[name].context_tokens for name in ("odd", "fine")] == [4096, 4096]


async def test_models_are_shown_again_only_when_they_change(server):
    server.says.tags = [tag("a"), tag("b")]
    server.says.shown = {"a": shown(), "b": shown()}
    made = build_plugin(Ollama, "ollama", base_url=server.url)
    async with made.backend:
        await made.backend.models()
        await made.backend.models()
        assert sum(r.path == "/api/show" for r in server.requests) == 2
        server.says.tags[0]["digest"] = "another"
        await made.backend.models()
    assert [json.loads(r.body)["model"] for r in server.requests if r.path == "/api/show"][2] == "a"


async def test_cloud_models_are_neither_listed_nor_asked_without_consent(server):
    server.says.tags = [
        tag("glm-4.7:cloud", remote_host="https://ollama.com:443", remote_model="glm-4.7"),
        tag("renamed", remote_host="https://ollama.com:443"),
        tag("qwen3:8b"),
    ]
    server.says.shown = {"qwen3:8b": shown(), "glm-4.7:cloud": shown(200_000)}
    assert list(await models(server)) == ["qwen3:8b"]
    made = build_plugin(Ollama, "ollama", base_url=server.url)
    async with gateway([made]) as running:
        response = await running.post(request_body(model="glm-4.7:cloud"))
    assert response.status_code == 400
    assert response.headers["x-should-retry"] == "false"
    assert "`cloud_models: true`" in response.json()["error"]["message"]
    assert not [r for r in server.requests if r.path == "/v1/messages"]


class TwoTargets(Plugin[NoOptions]):
    """A cloud model first, then one of this machine."""

    @hookimpl
    def resolve_route(self, request, exchange):
        return Route((("ollama", "glm-4.7:cloud"), ("ollama", "qwen3:8b")), "two")


async def test_a_cloud_model_without_consent_leaves_the_fallback_its_turn(server):
    server.says.shown = {"qwen3:8b": shown()}
    made = build_plugin(Ollama, "ollama", base_url=server.url)
    async with gateway([TwoTargets(NoOptions(), name="two"), made]) as running:
        response = await running.post(request_body(model="any"))
    assert response.status_code == 200
    assert [r.json["model"] for r in server.requests if r.path == "/v1/messages"] == ["qwen3:8b"]


async def test_with_consent_the_zone_says_that_data_leaves(server):
    server.says.tags = [tag("glm-4.7:cloud", remote_host="https://ollama.com:443")]
    server.says.shown = {"glm-4.7:cloud": shown(200_000)}
    found = await models(server, cloud_models=True)
    assert found["glm-4.7:cloud"].context_tokens == 200_000
    made = build_plugin(Ollama, "ollama", cloud_models=True)
    assert made.backend.zone == "ollama-cloud"
    assert build_plugin(Ollama, "o", cloud_models=True, zone="mine").backend.zone == "mine"


@pytest.mark.parametrize(
    ("name", "cloud"),
    [
        ("glm-4.7:cloud", True),
        ("gpt-oss:120b-cloud", True),
        ("cloud", True),
        ("my-cloud-model:8b", False),
        ("qwen3:8b", False),
    ],
)
def test_cloud_models_are_known_by_name(name, cloud):
    assert is_cloud_name(name) is cloud


@pytest.mark.parametrize(
    "shown_",
    [{}, {"model_info": None}, {"model_info": {"x.context_length": "8"}}, {"parameters": 5}],
)
def test_odd_answers_say_nothing(shown_):
    assert (trained_window(shown_), asked_window(shown_)) == (0, 0)


async def test_tokens_cannot_be_counted_and_the_client_is_told_so(server):
    async with gateway([build_plugin(Ollama, "ollama", base_url=server.url)]) as running:
        response = await running.post(request_body(), path="/v1/messages/count_tokens")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "not_found_error"


@pytest.mark.parametrize(
    ("name", "status", "kind", "text"),
    [
        ("ollama.model_not_found", 404, "not_found_error", "model 'no-such-model' not found"),
        ("ollama.overloaded", 529, "overloaded_error", "server busy, please try again."),
        ("ollama.context_overflow", 400, "invalid_request_error", "exceeds the context length"),
    ],
)
async def test_its_errors_are_told_in_its_words(server, name, status, kind, text):
    server.script(respond(404, {"error": "model not found"}), ERRORS[name].script())
    async with gateway([build_plugin(Ollama, "ollama", base_url=server.url)]) as running:
        response = await running.post(request_body())
    assert (response.status_code, response.json()["error"]["type"]) == (status, kind)
    assert text in response.json()["error"]["message"]


# ── a window of one's own ─────────────────────────────────────────────────────────────────────


def sent(server, path):
    return [r.json for r in server.requests if r.path == path]


async def test_pain_15_a_model_is_asked_for_with_the_window_that_is_wanted(server):
    server.says.tags, server.says.shown = [tag("qwen3:8b")], {"qwen3:8b": shown()}
    made = build_plugin(Ollama, "ollama", base_url=server.url, context_tokens=32_768)
    async with gateway([made]) as running:
        answers = [await running.ask("x", model="anthropic/ollama/qwen3:8b") for _ in range(2)]
        listed = (await running.client.get("/v1/models")).json()["data"]
    assert sent(server, "/api/create") == [
        {
            "model": "qwen3:8b-ctx32768",
            "from": "qwen3:8b",
            "parameters": {"num_ctx": 32_768},
            "stream": False,
        }
    ], "once"
    assert [r["model"] for r in sent(server, "/v1/messages")] == ["qwen3:8b-ctx32768"] * 2
    assert {answer["model"] for answer in answers} == {"anthropic/ollama/qwen3:8b"}
    assert [m["id"] for m in listed] == ["anthropic/ollama/qwen3:8b"], "the variant is hidden"
    assert listed[0]["max_input_tokens"] == 32_768


@pytest.mark.parametrize(
    ("name", "parameters", "asked"),
    [
        ("qwen3", "", "qwen3:latest-ctx40960"),
        ("hf.co/a/b:Q4_K_M", "", "hf.co/a/b:Q4_K_M-ctx40960"),
        ("qwen3:8b", "num_ctx 40960", "qwen3:8b"),
    ],
    ids=["without a tag", "from elsewhere", "has it already"],
)
async def test_the_window_is_never_more_than_the_model_was_made_for(
    server, name, parameters, asked
):
    server.says.tags, server.says.shown = [tag(name)], {name: shown(parameters=parameters)}
    made = build_plugin(Ollama, "ollama", base_url=server.url, context_tokens=1_000_000)
    async with gateway([made]) as running:
        await running.ask("x", model=name)
    assert sent(server, "/v1/messages")[0]["model"] == asked


async def test_a_model_that_is_not_there_is_not_pulled(server):
    made = build_plugin(Ollama, "ollama", base_url=server.url, context_tokens=32_768)
    async with gateway([made]) as running:
        response = await running.post(request_body(model="missing:8b"))
    assert response.status_code == 404
    assert not sent(server, "/api/create")


async def test_a_variant_that_cannot_be_made_is_told_with_the_way_around_it(server):
    server.says.tags, server.says.shown = [tag("qwen3:8b")], {"qwen3:8b": shown()}
    server.says.cannot_make = True
    made = build_plugin(Ollama, "ollama", base_url=server.url, context_tokens=32_768)
    async with gateway([made]) as running:
        response = await running.post(request_body(model="qwen3:8b"))
    assert response.status_code == 400
    assert "OLLAMA_CONTEXT_LENGTH=32768" in response.json()["error"]["message"]
    assert not sent(server, "/v1/messages")


async def test_the_window_of_a_loaded_variant_is_the_models(server):
    server.says.tags = [tag("qwen3:8b"), tag("qwen3:8b-ctx32768"), tag("odd-ctx7")]
    server.says.shown = {name["name"]: shown() for name in server.says.tags}
    server.says.running = [tag("qwen3:8b-ctx32768", context_length=32_768)]
    found = await models(server, context_tokens=32_768)
    assert list(found) == ["qwen3:8b", "odd-ctx7"]
    assert (found["qwen3:8b"].state, found["odd-ctx7"].state) == ("loaded", "unloaded")
    assert found["odd-ctx7"].context_tokens == 32_768


TOOLS = [{"name": name, "input_schema": {"type": "object"}} for name in ("Read", "Bash")]


@pytest.mark.parametrize(
    ("choice", "offered"),
    [
        ({"type": "auto"}, ["Read", "Bash"]),
        ({"type": "any"}, ["Read", "Bash"]),
        ({"type": "tool", "name": "Bash"}, ["Bash"]),
        ({"type": "none"}, []),
    ],
)
async def test_tool_choice_which_ollama_ignores_is_made_by_what_is_offered(server, choice, offered):
    server.says.shown = {"qwen3:8b": shown(capabilities=("completion", "tools"))}
    plugin = build_plugin(Ollama, "ollama", base_url=server.url)
    async with gateway([plugin]) as running:
        body = request_body(model="qwen3:8b", tools=TOOLS, tool_choice=choice)
        answer = await running.post(body)
    sent = server.requests[-1].json
    assert [tool["name"] for tool in sent.get("tools", [])] == offered
    assert ("changes=0" in answer.headers["plugway-receipt"]) is (len(offered) == 2)


async def test_that_several_calls_may_come_all_the_same_is_on_the_receipt(server):
    server.says.shown = {"qwen3:8b": shown()}
    plugin = build_plugin(Ollama, "ollama", base_url=server.url)
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    async with gateway([plugin]) as running:
        body = request_body(model="qwen3:8b", tools=TOOLS, tool_choice=choice)
        told = (await running.post(body, "/v1/messages/explain")).json()["receipt"]
    assert any("ignores `disable_parallel_tool_use`" in entry["what"] for entry in told)


PICTURE = {"type": "base64", "media_type": "image/png", "data": "aGk="}


@pytest.mark.parametrize(
    ("block", "able", "arrives"),
    [
        ({"type": "image", "source": PICTURE}, ("completion", "vision"), "image"),
        ({"type": "image", "source": PICTURE}, ("completion",), "text"),
        ({"type": "image", "source": PICTURE}, (), "image"),
        ({"type": "image", "source": {"type": "url", "url": "x"}}, ("vision",), "text"),
        ({"type": "document", "source": {**PICTURE, "media_type": "a/b"}}, ("vision",), "text"),
    ],
    ids=["it sees", "it does not", "nobody says", "an address", "a document"],
)
async def test_media_go_to_models_that_can_take_them(server, block, able, arrives):
    server.says.shown = {"qwen3:8b": shown(capabilities=able)}
    plugin = build_plugin(Ollama, "ollama", base_url=server.url)
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block]}
    call = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    messages = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result, block]},
    ]
    async with gateway([plugin]) as running:
        await running.post(request_body(model="qwen3:8b", messages=messages))
    result, beside = server.requests[-1].json["messages"][-1]["content"]
    assert [result["content"][0]["type"], beside["type"]] == [arrives, arrives]


# ── thinking ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "able", "told"),
    [
        ({}, "thinking", {"type": "disabled"}),
        ({"thinking": {"type": "disabled"}}, "thinking", {"type": "disabled"}),
        ({"thinking": {"type": "adaptive"}}, "thinking", {"type": "adaptive"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking", {"type": "enabled", "budget_tokens": 1024}),
        ({}, "vision", None),
    ],
    ids=["not asked", "switched off", "adaptive", "enabled", "cannot think"],
)  # fmt: skip
async def test_a_model_thinks_only_where_the_client_asks_for_it(server, asked, able, told):
    server.says.shown = {"qwen3:8b": shown(capabilities=("completion", "tools", able))}
    async with gateway([build_plugin(Ollama, "ollama", base_url=server.url)]) as running:
        for _ in range(2):
            response = await running.post(request_body(model="qwen3:8b", **asked))
            assert response.status_code == 200
    first, second = sent(server, "/v1/messages")
    assert first.get("thinking") == second.get("thinking") == told
    assert len(sent(server, "/api/show")) <= 1


async def test_a_model_that_show_does_not_report_is_not_looked_up_for_every_request(server):
    async with gateway([build_plugin(Ollama, "ollama", base_url=server.url)]) as running:
        for _ in range(3):
            await running.post(request_body(model="unknown"))
            await running.post(request_body(model="another"))
    assert [body["model"] for body in sent(server, "/api/show")] == ["unknown", "another"]
    assert len(sent(server, "/v1/messages")) == 6


async def test_of_a_model_of_which_nothing_is_known_nothing_is_assumed(server):
    async with gateway([build_plugin(Ollama, "ollama", base_url=server.url)]) as running:
        await running.post(request_body(model="unknown"))
        await running.post(request_body(model="unknown"), path="/v1/messages/count_tokens")
    assert [body.get("thinking") for body in sent(server, "/v1/messages")] == [None]
    assert len(sent(server, "/api/show")) == 1
