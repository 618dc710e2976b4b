"""Dialects whose paths name a model, that count tokens, frame their streams or take keys in queries."""

from __future__ import annotations

import anyio
import orjson
import pytest

from plugway import NoOptions, Plugin, StreamEvent, hookimpl
from plugway.testing import gateway
from plugway.types.errors import PluginError
from tests.kernel.test_dialect import Answers

pytestmark = pytest.mark.anyio


class Encoder:
    """A list of texts, written bit by bit where the query does not ask for events."""

    ping = b"\n"

    def __init__(self, query):
        self.content_type = "" if query == "as=events" else "application/json"
        self.begun = False

    def event(self, event: StreamEvent) -> bytes:
        if event.type == "message_stop":
            return b"]"
        if event.type != "content_block_delta":
            return b""
        begin, self.begun = b"," if self.begun else b"[", True
        return begin + orjson.dumps(event.data["delta"].get("text"))

    def message(self, message):
        return orjson.dumps(message)

    def error(self, status, error, *, streaming):
        return orjson.dumps({"wrong": error["message"]})


class Words:
    statuses = {}

    def __init__(self, method, *, counts=False):
        self.name = f"words-{method}"
        self.paths = [f"/v9/{{model}}:{method}"]
        self.counts_tokens = counts
        self.key_places = [("/v9/", "key")]
        self.asked = []

    def decode(self, original):
        self.asked.append(original)
        model = original.path.removeprefix("/v9/").partition(":")[0]
        user = {"role": "user", "content": "hi"}
        stream = bool(original.parsed.get("stream"))
        return {"model": model, "max_tokens": 9, "stream": stream, "messages": [user]}

    def encoder(self, original):
        return Encoder(original.query)


class Speaks(Plugin[NoOptions]):
    def __init__(self, *dialects):
        super().__init__(NoOptions(), name="speaks")
        self.dialects = dialects

    @hookimpl
    def register_dialects(self):
        return self.dialects


def stack(*dialects):
    backend = Answers(NoOptions(), name="answers")
    return Speaks(*(dialects or (Words("say"), Words("count", counts=True)))), backend


async def test_a_path_with_a_model_takes_any_model_slashes_included():
    speaks, backend = stack()
    async with gateway([speaks, backend]) as running:
        answer = await running.post({}, "/v9/answers/some/model:say")
        assert answer.json()["content"][0]["text"] == "good day"
        assert backend.asked.model == "some/model"
        assert (await running.post({}, "/v9/:say")).status_code == 404
        assert (await running.client.get("/v9/m:say")).status_code == 404
        told = (await running.post({}, "/v9/answers/m:say/explain")).json()
        assert told["attempts"][0]["target"] == "answers/m"


async def test_two_dialects_on_one_open_path_are_told_apart_at_start():
    with pytest.raises(PluginError, match=r"`/v9/\{model\}:say` is already served"):
        async with gateway(list(stack(Words("say"), Words("say")))):
            pass


async def test_a_dialect_that_counts_runs_no_inference():
    speaks, backend = stack()
    async with gateway([speaks, backend]) as running:
        answer = await running.post({}, "/v9/answers/m:count")
    assert answer.json() == {"input_tokens": 1}
    assert backend.asked is None


async def test_a_stream_has_the_type_and_the_pings_of_its_encoder():
    class Slow(Answers):
        async def _events(self):
            await anyio.sleep(0.3)
            async for item in super()._events():
                yield item

    speaks, _ = stack()
    slow = Slow(NoOptions(), name="answers")
    async with gateway([speaks, slow], ping_seconds=0.1) as running:
        answer = await running.post({"stream": True}, "/v9/answers/m:say")
        events = await running.post({"stream": True}, "/v9/answers/m:say?as=events")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content.startswith(b"\n")
    assert answer.json() == ["good ", "day"]
    assert events.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("query", "status", "left"),
    [
        ("key=test-token", 200, ""),
        ("a=1&key=test-token&b=2", 200, "a=1&b=2"),
        ("key=test%2Dtoken", 200, ""),
        ("key=wrong", 401, None),
        ("key=", 401, None),
        ("key=wrong&key=test-token", 401, None),
        ("keys=test-token", 401, None),
        ("token=test-token", 401, None),
        ("", 401, None),
    ],
)
async def test_a_key_in_the_query_lets_in_and_goes_no_further(query, status, left):
    speaks, backend = stack()
    async with gateway([speaks, backend]) as running:
        del running.client.headers["authorization"]
        answer = await running.post({}, f"/v9/answers/m:say?{query}")
    assert answer.status_code == status
    if left is not None:
        assert speaks.dialects[0].asked[0].query == left
        assert "test-token" not in repr(backend.asked.headers)


async def test_a_key_in_the_query_counts_on_the_paths_of_its_dialect_only():
    async with gateway(list(stack())) as running:
        del running.client.headers["authorization"]
        for path in ("/v1/models", "/v1/messages", "/health2"):
            assert (await running.client.get(f"{path}?key=test-token")).status_code == 401


async def test_a_line_with_the_token_counts_before_a_key_in_the_query():
    speaks, backend = stack()
    async with gateway([speaks, backend]) as running:
        answer = await running.post({}, "/v9/answers/m:say?key=somebody-elses")
    assert answer.status_code == 200
    assert "somebody-elses" not in repr((backend.asked.headers, speaks.dialects[0].asked[0].query))
