"""Other APIs on the way in, plugins' own routes, and what a plugin sees of its gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import orjson
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from plugway import (
    Attempt,
    Backend,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Deferred,
    Emitter,
    EventStream,
    Exchange,
    Gateway,
    InvalidRequest,
    MessagesRequest,
    ModelInfo,
    NoOptions,
    NoRoute,
    Original,
    Outcome,
    Plugin,
    Reply,
    RequestRejected,
    StreamEvent,
    StreamInterrupted,
    hookimpl,
)
from plugway.testing import RawClient, gateway, messages_request
from plugway.types.errors import PluginError

pytestmark = pytest.mark.anyio

ASKED = {"say": "hello", "extra": {"kept": [1, 2]}}


class LinesEncoder:
    """One line of text per event."""

    def event(self, event: StreamEvent) -> bytes:
        if event.type != "content_block_delta":
            return b""
        return f"data: {event.data['delta'].get('text', '')}\n\n".encode()

    def message(self, message: Any) -> bytes:
        return orjson.dumps({"said": "".join(b.get("text", "") for b in message["content"])})

    def error(self, status: int, error: Any, *, streaming: bool) -> bytes:
        body = orjson.dumps({"wrong": error["message"], "status": status})
        return b"data: " + body + b"\n\n" if streaming else body


class Lines:
    name = "lines"
    paths = ("/v1/lines",)
    statuses = {529: 503}
    breaks = False

    def decode(self, original: Original) -> dict[str, Any]:
        if self.breaks:
            raise KeyError("a defect")
        said = original.parsed.get("say")
        if not isinstance(said, str):
            raise InvalidRequest("say: a string is needed", retry=False)
        if "extra" in original.parsed:
            original.notes.append("drop `extra`: there is none")
        return {
            "model": original.parsed.get("model", "m"),
            "max_tokens": 10,
            "stream": bool(original.parsed.get("stream")),
            "messages": [{"role": "user", "content": said}],
        }

    def encoder(self, original: Original) -> LinesEncoder:
        if original.body:
            assert original.parsed["say"], "only what was decoded has a body"
        return LinesEncoder()


class Speaks(Plugin[NoOptions]):
    """Registers the dialect, a route, and keeps the gateway it is given."""

    gateway: Gateway | None = None
    entered: Gateway | None = None
    fails: Exception = KeyError("a defect")

    lines = Lines()

    @hookimpl
    def register_dialects(self) -> Sequence[Lines]:
        return [self.lines]

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[Route]:
        self.gateway = gateway

        async def lines(request: Request) -> JSONResponse:
            return JSONResponse({"backends": list(gateway.backends)})

        async def fails(request: Request) -> JSONResponse:
            await request.body()
            raise self.fails

        return [
            Route("/v1/models", lines, methods=["PUT", "GET"]),
            Route("/own", lines),
            Route("/fails", fails, methods=["GET", "POST"]),
        ]

    @hookimpl
    def lifespan(self, gateway: Gateway) -> Any:
        @asynccontextmanager
        async def live() -> AsyncIterator[None]:
            self.entered = gateway
            yield

        return live()


class Answers(Plugin[NoOptions]):
    """A backend that says what it was asked, or speaks the client's dialect itself."""

    foreign = False
    breaks = False
    empty = False
    refuses: BackendError | None = None
    asked: MessagesRequest | None = None

    @hookimpl
    def register_backends(self) -> Sequence[Backend]:
        return [self]  # type: ignore[list-item]

    zone = "local"

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        self.asked = request
        if self.refuses is not None:
            raise self.refuses
        if self.foreign:
            assert request.original is not None
            if not request.stream:
                return Reply(body=request.original.body, dialect="lines")
            return Reply(chunks=self._pieces(), dialect="lines")
        return Reply.streamed(self._events())

    async def _pieces(self) -> AsyncIterator[bytes]:
        if self.empty:
            return
        yield b"data: own "
        yield b"words\n\n"
        if self.breaks:
            raise StreamInterrupted("it stopped")
        yield b": end\n\n"

    async def _events(self) -> AsyncIterator[StreamEvent]:
        emitter = Emitter(model="m")
        for item in emitter.start({"input_tokens": 1, "output_tokens": 0}):
            yield item
        for word in ("good ", "day"):
            for item in emitter.text(word):
                yield item
        for item in emitter.finish("end_turn", {"output_tokens": 2}):
            yield item

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int:
        return 1

    async def models(self) -> Sequence[ModelInfo]:
        return [ModelInfo("m", context_tokens=9)]


class Changes(Plugin[NoOptions]):
    """A layer on every stream and every reply."""

    layers = 0

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> None:
        self.layers += 1

    @hookimpl
    async def transform_response(self, reply: Reply, exchange: Exchange) -> None:
        self.layers += 1


def stack() -> tuple[Speaks, Answers]:
    return Speaks(NoOptions(), name="speaks"), Answers(NoOptions(), name="answers")


async def test_a_dialects_client_gets_a_whole_answer_in_its_own_words():
    speaks, answers = stack()
    async with gateway([speaks, answers]) as running:
        response = await running.post(ASKED, "/v1/lines")
    assert response.json() == {"said": "good day"}
    assert response.headers["content-length"] == str(len(response.content))
    assert response.headers["x-request-id"] == response.headers["request-id"]
    assert answers.asked is not None
    assert answers.asked.original is not None
    assert orjson.loads(answers.asked.original.body) == ASKED
    assert answers.asked.body["messages"][0]["content"] == "hello"
    assert "changes=1; by=lines" in response.headers["plugway-receipt"]


async def test_a_dialects_client_gets_a_stream_in_its_own_words():
    speaks, answers = stack()
    async with gateway([speaks, answers]) as running:
        response = await running.post({**ASKED, "stream": True}, "/v1/lines")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text == "data: good \n\ndata: day\n\n"


async def test_a_doubled_v1_reaches_the_dialect():
    async with gateway(list(stack())) as running:
        response = await running.post(ASKED, "/v1/v1/lines")
    assert response.json() == {"said": "good day"}


async def test_what_the_dialect_refuses_is_told_in_its_words():
    async with gateway(list(stack())) as running:
        response = await running.post({"say": 1}, "/v1/lines")
        broken = await running.post(b"{", "/v1/lines")
    assert (response.status_code, response.json()["wrong"]) == (400, "say: a string is needed")
    assert broken.status_code == 400
    assert "status" in broken.json()


async def test_the_guards_refusals_are_told_in_its_words():
    async with gateway(list(stack())) as running:
        response = await running.client.post(
            "/v1/lines", json=ASKED, headers={"authorization": "Bearer wrong"}
        )
    assert response.status_code == 401
    assert "no valid token" in response.json()["wrong"]


async def test_a_backends_failure_is_told_in_its_words():
    speaks, answers = stack()
    answers.refuses = BackendUnavailable("nobody there")
    async with gateway([speaks, answers]) as running:
        response = await running.post(ASKED, "/v1/lines")
    assert response.status_code == 503
    assert "nobody there" in response.json()["wrong"]
    assert response.json()["status"] == 503


async def test_other_methods_on_a_dialects_path_are_not_served():
    async with gateway(list(stack())) as running:
        response = await running.client.get("/v1/lines")
    assert response.status_code == 404


@pytest.mark.parametrize("stream", [False, True])
async def test_a_backend_of_the_same_dialect_is_relayed_as_it_is(stream):
    speaks, answers = stack()
    answers.foreign = True
    changes = Changes(NoOptions(), name="changes")
    body = orjson.dumps({**ASKED, "stream": stream})
    async with gateway([speaks, changes, answers]) as running:
        response = await running.post(body, "/v1/lines")
    assert response.content == (b"data: own words\n\n: end\n\n" if stream else body)
    assert changes.layers == 0


async def test_a_stream_of_the_same_dialect_that_breaks_off_is_cut():
    speaks, answers = stack()
    answers.foreign = answers.breaks = True
    async with gateway([speaks, answers]) as running, RawClient(running.url) as client:
        body = {**ASKED, "stream": True}
        await client.send(messages_request(body, token=running.token, path="/v1/lines"))
        answer = await client.read()
    assert not answer.complete
    assert b"own words" in answer.body


async def test_an_empty_stream_of_the_same_dialect_is_a_failure_of_the_backend():
    speaks, answers = stack()
    answers.foreign = answers.empty = True
    async with gateway([speaks, answers]) as running:
        response = await running.post({**ASKED, "stream": True}, "/v1/lines")
        assert (response.status_code, response.json()["status"]) == (502, 502)
        assert "before its first piece" in response.json()["wrong"]


@pytest.mark.parametrize("body", [b"{nope", b"[]", b'{"say": 1}', b""])
async def test_what_cannot_be_decoded_is_refused_before_an_encoder_has_to_read_it(body):
    async with gateway(stack()) as running:
        response = await running.post(body, "/v1/lines")
        assert (response.status_code, response.json()["status"]) == (400, 400)


async def test_a_defect_of_a_dialect_is_told_in_its_words(caplog):
    speaks, answers = stack()
    speaks.lines = Lines()
    speaks.lines.breaks = True
    async with gateway([speaks, answers]) as running:
        response = await running.post(ASKED, "/v1/lines")
        assert response.status_code == 500
        assert "plugin `speaks`, hook `register_dialects`" in response.json()["wrong"]
        answers.refuses = BackendRefused(403, b"<html>no</html>", native=True)
        with pytest.raises(RequestRejected, match="status 403"):
            await speaks.gateway.ask(
                MessagesRequest(
                    b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
                )
            )
        assert running.app.active == 0
    assert "KeyError" in caplog.text


class LaterLines(Lines):
    """Decodes when somebody asks for what it does not know yet."""

    def __init__(self) -> None:
        self.decoded = 0

    def decode(self, original: Original) -> Any:
        known = {"model": original.get("model", "m"), "stream": bool(original.get("stream"))}
        return Deferred(known, lambda: self._decode(original))

    def encoder(self, original: Original) -> LinesEncoder:
        return LinesEncoder()

    def _decode(self, original: Original) -> Any:
        self.decoded += 1
        found = super().decode(original)
        return found if original.parsed["say"] else {**found, "messages": "none"}


class Relays(Answers):
    """Says whether it would relay, as backends do."""

    def relays(self, request: MessagesRequest, attempt: Attempt) -> bool:
        return self.foreign

    def losses(self, request: MessagesRequest, attempt: Attempt) -> Sequence[str]:
        assert request.original is not None
        return request.original.notes


class Looks(Plugin[NoOptions]):
    """Renames the model, and looks at the request as it is told to."""

    look = staticmethod(lambda request: request.stream)

    @hookimpl
    async def transform_request(
        self, request: MessagesRequest, exchange: Exchange
    ) -> MessagesRequest:
        self.look(request)
        return request.replace(model=request.model + "-renamed", because="a test")

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        self.receipt = [entry.what for entry in exchange.receipt if entry.stage == "decode"]


LOOKS = {
    "nothing": (lambda request: (request.model, request.stream, request.header("a")), 0),
    "the query": (lambda request: request.query, 0),
    "the body": (lambda request: request.body, 1),
    "a field": (lambda request: request.get("messages"), 1),
    "the names": (lambda request: request.fields, 1),
    "the bytes": (lambda request: request.raw, 1),
    "its notes": (lambda request: request.original.notes, 1),
    "all": (lambda request: (request.body, request.original.notes, request.raw), 1),
}


def later_stack(look=LOOKS["nothing"][0]) -> tuple[Speaks, Looks, Relays]:
    speaks, looks = Speaks(NoOptions(), name="speaks"), Looks(NoOptions(), name="looks")
    speaks.lines, looks.look = LaterLines(), look
    return speaks, looks, Relays(NoOptions(), name="answers")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("look", "times"), LOOKS.values(), ids=LOOKS)
async def test_what_is_relayed_is_decoded_only_for_who_asks(look, times, stream):
    plugins = later_stack(look)
    plugins[2].foreign = True
    body = orjson.dumps({**ASKED, "stream": stream})
    async with gateway(list(plugins)) as running:
        response = await running.post(body, "/v1/lines")
    assert response.content == (b"data: own words\n\n: end\n\n" if stream else body)
    assert plugins[0].lines.decoded == times
    assert plugins[2].asked.model == "m-renamed"


@pytest.mark.parametrize(("look", "times"), LOOKS.values(), ids=LOOKS)
async def test_what_is_not_relayed_is_decoded_once_and_its_losses_are_told(look, times):
    plugins = later_stack(look)
    async with gateway(list(plugins)) as running:
        response = await running.post(ASKED, "/v1/lines")
        assert response.json() == {"said": "good day"}
        assert plugins[1].receipt == ["drop `extra`: there is none"]
    assert plugins[0].lines.decoded == 1
    assert plugins[2].asked.body["messages"] == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("body", [b'{"say": 1}', b'{"say": ""}'])
@pytest.mark.parametrize("look", [LOOKS["nothing"][0], LOOKS["the body"][0]])
async def test_what_cannot_be_decoded_later_is_refused_all_the_same(look, body):
    async with gateway(list(later_stack(look))) as running:
        response = await running.post(body, "/v1/lines")
        assert (response.status_code, response.json()["status"]) == (400, 400)


@pytest.mark.parametrize("look", [LOOKS["nothing"][0], LOOKS["a field"][0]])
async def test_a_defect_of_a_dialect_is_told_as_its_own_when_it_decodes_later(look, caplog):
    plugins = later_stack(look)
    plugins[0].lines.breaks = True
    async with gateway(list(plugins)) as running:
        response = await running.post(ASKED, "/v1/lines")
        assert response.status_code == 500
        assert "plugin `speaks`, hook `register_dialects`" in response.json()["wrong"]
    assert "KeyError" in caplog.text


async def test_an_answer_in_a_dialect_that_was_not_asked_for_is_a_failure():
    class Confused(Answers):
        async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
            return Reply(body=b"{}", dialect="other")

    async with gateway([Confused(NoOptions(), name="confused")]) as running:
        response = await running.post(
            {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        )
    assert response.status_code >= 500
    assert "other" in response.json()["error"]["message"]


async def test_a_whole_answer_in_the_dialect_is_no_second_head_where_pings_went_out():
    class Slow(Answers):
        async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
            import anyio

            await anyio.sleep(0.3)
            return Reply(body=b'{"own": "words"}', dialect="lines")

    speaks, _ = stack()
    async with gateway([speaks, Slow(NoOptions(), name="slow")], ping_seconds=0.1) as running:
        with pytest.raises(httpx2.RemoteProtocolError, match=r"incomplete|without"):
            await running.post({**ASKED, "stream": True}, "/v1/lines")
        assert running.app.active == 0


async def test_while_it_waits_a_dialects_client_gets_comments():
    class Slow(Answers):
        async def _events(self) -> AsyncIterator[StreamEvent]:
            import anyio

            await anyio.sleep(0.3)
            async for item in super()._events():
                yield item

    speaks, _ = stack()
    async with gateway([speaks, Slow(NoOptions(), name="slow")], ping_seconds=0.1) as running:
        response = await running.post({**ASKED, "stream": True}, "/v1/lines")
    assert response.text.startswith(": ping\n\n")
    assert response.text.endswith("data: good \n\ndata: day\n\n")


async def test_a_plugins_routes_are_behind_the_guard_and_before_the_kernels_own():
    speaks, answers = stack()
    async with gateway([speaks, answers]) as running:
        own = await running.client.get("/own")
        models = await running.client.get("/v1/models")
        refused = await running.client.get("/own", headers={"authorization": "Bearer wrong"})
        health = await running.client.get("/health")
    assert own.json() == models.json() == {"backends": ["answers"]}
    assert refused.status_code == 401
    assert health.status_code == 200


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (InvalidRequest("say more"), 400, "say more"),
        (HTTPException(409, "not now"), 409, "not now"),
        (KeyError("a defect"), 500, "plugin `speaks`, hook `register_routes`: raised KeyError"),
    ],
    ids=["rejected", "http", "defect"],
)
async def test_what_a_plugins_route_raises_is_told_as_the_gateway_tells_it(error, status, said):
    speaks, answers = stack()
    speaks.fails = error
    async with gateway([speaks, answers]) as running:
        response = await running.client.get("/fails")
        assert response.status_code == status
        assert said in response.json()["error"]["message"]
        assert response.headers["request-id"] == response.json()["request_id"]


@pytest.mark.parametrize("path", ["/fails", "/v1/lines"])
async def test_bodies_for_plugins_are_limited_in_size_and_time(path):
    speaks, answers = stack()
    limits = {"max_body_bytes": 2000, "body_seconds": 0.2}

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000

    async with gateway([speaks, answers], **limits) as running:
        types = {"content-type": "application/json"}
        response = await running.client.post(path, content=pieces(), headers=types)
        assert response.status_code == 413
        port = running.url.rpartition(":")[2]
        chunked = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
            f"authorization: Bearer {running.token}\r\ncontent-type: application/json\r\n"
            f"transfer-encoding: chunked\r\n\r\nbb8\r\n{'x' * 3000}\r\n0\r\n\r\n"
        )
        async with RawClient(running.url) as client:  # all of it is here at once
            await client.send(chunked.encode())
            assert (await client.read_head(seconds=2)).status == 413
        whole = messages_request(b"x" * 100, running.token, path=path)
        async with RawClient(running.url) as client:
            await client.send(whole[:-1])
            assert (await client.read_head(seconds=2)).status == 408


@pytest.mark.parametrize("path", ["/own", "/fails", "/v1/lines", "/v1/v1/lines"])
async def test_paths_of_plugins_are_behind_every_check_of_the_guard(path):
    speaks, answers = stack()
    async with gateway([speaks, answers]) as running:
        for status, token, headers, host in (
            (401, None, {}, "127.0.0.1"),
            (401, "wrong", {}, "127.0.0.1"),
            (403, "test-token", {"origin": "https://evil.test"}, "127.0.0.1"),
            (403, "test-token", {"sec-fetch-site": "cross-site"}, "127.0.0.1"),
            (415, "test-token", {"content-type": "text/plain"}, "127.0.0.1"),
            (421, "test-token", {}, "evil.test"),
        ):
            asked = messages_request(ASKED, token, headers, path=path, host=host)
            async with RawClient(running.url) as client:
                await client.send(asked)
                assert (await client.read()).status == status
    assert answers.asked is None


async def test_two_dialects_on_one_path_are_told_apart_at_start():
    speaks, answers = stack()
    with pytest.raises(PluginError, match="`/v1/lines` is already served"):
        async with gateway([speaks, Speaks(NoOptions(), name="again"), answers]):
            pass


async def test_a_plugin_is_told_who_would_get_a_request_and_nobody_gets_it():
    speaks, answers = stack()
    async with gateway([speaks, answers]):
        gate = speaks.gateway
        assert gate is not None
        (attempt,) = await gate.plan(MessagesRequest(b'{"model":"answers/m","messages":[]}'))
        assert (attempt.target, attempt.backend) == ("answers/m", answers)
        with pytest.raises(NoRoute, match="model: anthropic/gone/m"):
            await gate.plan(MessagesRequest(b'{"model":"anthropic/gone/m","messages":[]}'))
    assert answers.asked is None


async def test_a_plugin_asks_through_the_whole_pipeline():
    speaks, answers = stack()
    async with gateway([speaks, answers]) as running:
        assert speaks.gateway is not None
        assert speaks.entered is speaks.gateway
        assert (await speaks.gateway.models())[0].id == "anthropic/answers/m"
        assert speaks.gateway.address.startswith("http://127.0.0.1:")
        message = await speaks.gateway.ask(
            MessagesRequest(
                b'{"model":"m","max_tokens":1,"stream":true,"messages":[{"role":"user","content":"x"}]}'
            )
        )
        assert message["content"][0]["text"] == "good day"
        answers.refuses = BackendUnavailable("nobody there")
        with pytest.raises(RequestRejected, match="nobody there"):
            await speaks.gateway.ask(
                MessagesRequest(
                    b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
                )
            )
        answers.refuses = BackendRefused(403, b"<html>no</html>", native=True)
        with pytest.raises(RequestRejected, match="status 403"):
            await speaks.gateway.ask(
                MessagesRequest(
                    b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
                )
            )
        answers.refuses = BackendRefused(403, b"<html>no</html>", native=True)
        with pytest.raises(RequestRejected, match="status 403"):
            await speaks.gateway.ask(
                MessagesRequest(
                    b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
                )
            )
        assert running.app.active == 0
