"""Apple's models behind `fm serve` and `apfel`: zones, tiers, tools that are refused, errors."""

import pytest
from apple_servers import fm_serve
from pydantic import ValidationError

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_apple_intelligence import AppleIntelligence, _sdk, _server
from plugway_echo import Echo
from plugway_error_normalizer import ErrorNormalizer
from plugway_openai_wire.testing import chat_message
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

FLAT = {
    "name": "get_weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
NESTED = {
    "name": "deep",
    "description": "",
    "input_schema": {"type": "object", "properties": {"at": {"type": "object", "properties": {}}}},
}


class Server(ScriptedUpstream):
    """A server whose script a test may change while it runs."""

    def __init__(self):
        self.script = fm_serve()
        super().__init__(otherwise=lambda request: self.script(request))


@pytest.fixture
async def server():
    async with Server() as found:
        yield found


def plugin(server=None, name="apple", **options):
    url = {"base_url": f"{server.url}/v1"} if server else {}
    return build_plugin(AppleIntelligence, name, **{**url, **options})


def stack(server, **options):
    return [build_plugin(ErrorNormalizer, "errors"), plugin(server, **options)]


def body(**fields):
    return request_body("hello", **{"model": "apple/system", **fields})


async def answered(server, script, fields=None, **options):
    server.script = script
    async with gateway(stack(server, **options)) as running:
        response = await running.post(fields or body())
    return response, response.json()


def sent(server):
    return [request.json for request in server.requests if request.method == "POST"]


# ── zones and tiers ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "zone"),
    [
        ({}, "local"),
        ({"run": "apfel"}, "local"),
        ({"run": "in-process"}, "local"),
        ({"base_url": "http://192.168.1.7:1976/v1"}, "192.168.1.7:1976"),
        ({"base_url": "http://192.168.1.7:1976/v1", "zone": "local"}, "local"),
        ({"tier": "pcc"}, "apple-private-cloud-compute"),
        ({"tier": "pcc", "base_url": "http://mac.example:1976/v1"}, "apple-private-cloud-compute"),
    ],
)
def test_the_zone_says_who_sees_the_data(options, zone):
    assert plugin(**options).backend.zone == zone


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tier": "pcc", "zone": "local"}, "Private Cloud Compute is on Apple's servers"),
        ({"tier": "pcc", "run": "apfel"}, "needs `run: fm-serve`"),
        ({"tier": "pcc", "run": "in-process"}, "needs `run: fm-serve`"),
        ({"run": "in-process", "base_url": "http://127.0.0.1:1/v1"}, "are for a server"),
        ({"base_url": "http://mac.example/v1", "api_key": "k"}, "https"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(ValidationError, match=words):
        plugin(**options)


async def test_the_other_tier_is_never_reached_through_an_instance(server):
    response, found = await answered(server, fm_serve(pcc=True), body(model="apple/pcc"))
    assert response.status_code == 404
    assert "add an instance with `tier: pcc`" in found["error"]["message"]
    assert sent(server) == []


async def test_private_cloud_compute_is_an_instance_of_its_own(server):
    script = fm_serve("From the cloud.", pcc=True)
    response, found = await answered(server, script, body(model="apple/pcc"), tier="pcc")
    assert response.status_code == 200
    assert found["content"][0]["text"] == "From the cloud."
    assert sent(server)[0]["model"] == "pcc"


async def test_the_list_has_the_instances_own_tier_with_its_window(server):
    server.script = fm_serve()
    async with gateway([plugin(server), plugin(server, "cloud", tier="pcc")]) as running:
        listed = (await running.client.get("/v1/models")).json()["data"]
    windows = {model["id"]: model["max_input_tokens"] for model in listed}
    assert windows == {"anthropic/apple/system": 4096, "anthropic/cloud/pcc": 32_768}
    assert all("titles, small chats and side requests" in model["notice"] for model in listed)


@pytest.mark.parametrize(("system", "warns"), [("Linux", True), ("macOS", False)])
def test_a_server_that_cannot_be_on_this_machine_is_warned_about(
    monkeypatch, caplog, system, warns
):
    monkeypatch.setattr(_sdk, "system", lambda: (system, "1"))
    assert plugin().check({}) == ()
    assert ("set `base_url` to the address of a Mac" in caplog.text) is warns


# ── requests ─────────────────────────────────────────────────────────────────────────────────


async def test_a_whole_reply_is_asked_for_because_streams_are_the_default(server):
    response, found = await answered(server, fm_serve("Hi."))
    assert response.status_code == 200
    assert found["content"][0]["text"] == "Hi."
    assert sent(server)[0]["stream"] is False


async def test_a_limit_beyond_the_window_is_lowered(server):
    await answered(server, fm_serve(), body(max_tokens=32_000))
    assert sent(server)[0]["max_tokens"] == 4096


async def test_usage_of_a_stream_is_asked_for(server):
    server.script = fm_serve("Hi.")
    async with gateway(stack(server)) as running:
        events = await running.stream("hello", model="apple/system")
    assert events[-2][1]["usage"]["output_tokens"] == 5


async def test_apfel_gets_its_model_and_no_stop_sequences_that_it_would_refuse(server):
    def apfel(request):
        assert "stop" not in request.json
        return respond(200, chat_message("One. STOP two"))

    fields = body(model="apple/apple-foundationmodel", stop_sequences=["STOP"])
    response, found = await answered(server, apfel, fields, run="apfel")
    assert response.status_code == 200
    assert found["content"][0]["text"] == "One. "


# ── tools ────────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_refuses_tools_is_told_in_plain_words_and_remembered(server):
    server.script = fm_serve()
    async with gateway(stack(server)) as running:
        first = await running.post(body(tools=[FLAT]))
        before = len(sent(server))
        second = await running.post(body(tools=[FLAT]))
        assert (await running.post(body())).status_code == 200
    assert first.status_code == second.status_code == 400
    message = first.json()["error"]["message"]
    assert "`apple/system` does not accept tools" in message
    assert "route others to another model" in message
    assert (before, len(sent(server))) == (2, 3)  # the request, the probe; then only the last one


async def test_a_refusal_is_forgotten_because_the_server_may_be_updated(server, monkeypatch):
    monkeypatch.setattr(_server, "TOOLLESS_SECONDS", 0.0)
    server.script = fm_serve()
    async with gateway(stack(server)) as running:
        await running.post(body(tools=[FLAT]))
        server.script = fm_serve(tools="all")
        assert (await running.post(body(tools=[FLAT]))).status_code == 200


async def test_a_schema_that_is_refused_is_not_taken_for_all_tools(server):
    server.script = fm_serve(tools="flat")
    async with gateway(stack(server)) as running:
        refused = await running.post(body(tools=[NESTED]))
        assert (await running.post(body(tools=[FLAT]))).status_code == 200
    assert refused.status_code == 400
    assert "accepts tools, but not one of these" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "This model does not support tool calling"),
        (422, "tools are not supported"),
        (400, "Unknown field: tools"),
        (500, "Invalid tool definition"),
        (501, "Function calling is not implemented"),
    ],
)
async def test_tools_are_refused_in_any_words_and_with_any_status(server, status, words):
    script = fm_serve(tools="all", said=(status, words))
    response, found = await answered(server, script, body(tools=[FLAT]))
    assert response.status_code == 400
    assert "`apple/system` does not accept tools" in found["error"]["message"]


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_server_that_fails_when_asked_is_not_remembered_as_without_tools(server, status):
    def script(request):
        asked = request.method == "POST" and "noop" in str(request.json)
        failing = fm_serve(tools="all", said=(status, "Loading."))
        return failing(request) if asked else fm_serve()(request)

    server.script = script
    async with gateway(stack(server)) as running:
        first = await running.post(body(tools=[FLAT]))
        server.script = fm_serve(tools="all")
        assert (await running.post(body(tools=[FLAT]))).status_code == 200
    assert first.status_code == 400
    assert "Invalid tool definition" in first.json()["error"]["message"]


async def test_a_request_with_tools_goes_on_to_the_next_target(server):
    server.script = fm_serve()
    models = {"*": {"targets": ["apple/system", "echo/echo"]}}
    router = build_plugin(Router, "router", models=models)
    plugins = [router, *stack(server), build_plugin(Echo, "echo")]
    async with gateway(plugins) as running:
        router.check({"apple": "local", "echo": "local"})
        with_tools = await running.ask("hello", model="x", tools=[FLAT])
        without = await running.ask("hello", model="x")
    assert "[echo, 1 tools]" in with_tools["content"][0]["text"]
    assert without["content"][0]["text"] == "Hello."


# ── errors ───────────────────────────────────────────────────────────────────────────────────

TOO_LONG = "The transcript exceeded the model's context window size."


@pytest.mark.parametrize(
    ("said", "status", "words", "retry"),
    [
        ((503, "Model 'system' is unavailable: Apple Intelligence is not enabled."), 529,
         "System Settings > Apple Intelligence & Siri", None),
        ((500, "An unsupported generation guide was used."), 400, "tool_choice: auto", "false"),
        ((500, "The model's safety guardrails were triggered."), 400, "rephrase", "false"),
        ((500, "The operation couldn’t be completed. (LanguageModelError error -1.)"), 429,
         "LanguageModelError", None),
        ((400, TOO_LONG), 400, "prompt is too long", None),
        ((400, "Input exceeds the model's context window. Shorten the conversation history."), 400,
         "prompt is too long", None),
        ((429, "Apple Intelligence is busy with another request. Retry shortly."), 429, "busy", None),
    ],
)  # fmt: skip
async def test_an_error_of_the_server_says_what_to_do(server, said, status, words, retry):
    response, found = await answered(server, fm_serve(said=said))
    assert response.status_code == status, found
    assert words in found["error"]["message"]
    assert retry is None or response.headers["x-should-retry"] == retry


@pytest.mark.parametrize(
    ("message", "status", "words"),
    [
        ("The model's safety guardrails were triggered.", 400, "rephrase"),
        ("exceededContextWindowSize", 400, "prompt is too long"),
        ("GenerationError.guardrailViolation", 400, "rephrase"),
        ("Model 'system' is unavailable: it is off.", 529, "System Settings"),
    ],
)
@pytest.mark.parametrize("sent_as", [200, 500])
async def test_an_error_means_the_same_with_status_200(server, message, status, words, sent_as):
    response, found = await answered(server, fm_serve(said=(sent_as, message)))
    assert response.status_code == status, found
    assert words in found["error"]["message"]


@pytest.mark.parametrize("status", [401, 403, 404, 429])
async def test_a_clear_status_counts_more_than_words(server, status):
    response, found = await answered(server, fm_serve(said=(status, "guardrail tool unavailable")))
    assert response.status_code == status
    assert "rephrase" not in found["error"]["message"]


@pytest.mark.parametrize(
    "model",
    ["pcc ", " pcc", "PCC", "system/pcc", "pcc/system", "system,pcc", "apple/pcc", "", "default"],
)
async def test_no_other_spelling_reaches_another_tier(server, model):
    response, _ = await answered(server, fm_serve(pcc=True), body(model=f"apple/{model}"))
    assert response.status_code == 404
    assert sent(server) == []


async def test_a_cloud_that_the_server_cannot_use_says_how_to_start_it(server):
    response, found = await answered(server, fm_serve(), body(model="apple/pcc"), tier="pcc")
    assert response.status_code == 503
    assert "foreground of the Terminal app" in found["error"]["message"]
    assert response.headers["x-should-retry"] == "false"
