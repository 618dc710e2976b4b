"""An image that a server rejects does not stop the conversation. The words are Anthropic's."""

import base64

import orjson
import pytest

from plugway import Attempt, BackendRefused, MessagesRequest, Upstream
from plugway.testing import anthropic_error, anthropic_message, respond
from plugway_anthropic_wire import AnthropicBackend, Wire
from plugway_anthropic_wire._rejected_media import MOST_REMEMBERED, RejectedMedia

pytestmark = pytest.mark.anyio

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(40)).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(40)).decode()
PDF = base64.b64encode(b"%PDF-1.4\n%%EOF").decode()
TOO_LARGE = "image exceeds 5 MB maximum: 11641928 bytes > 5242880 bytes"
PLACES = {
    "image.source.base64": 1,
    "image.source.base64.data": 1,
    "tool_result.content.1.image.source.base64": 2,
    "content.1.image.source.base64": 2,
    "pdf.source.base64.data": 3,
    "document.source.base64.data": 3,
}


def image(data=PNG, mime="image/png"):
    return {"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}}


def messages(second=None):
    document = {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
    }
    result = [{"type": "text", "text": "shot"}, image(PNG[:-8] + "AAAAAAA=")]
    content = [
        {"type": "text", "text": "see"},
        second or image(),
        {"type": "tool_result", "tool_use_id": "t1", "content": result},
        document,
    ]
    call = {"type": "tool_use", "id": "t1", "name": "Shot", "input": {}}
    return [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": content},
    ]


def refused(place, words, index=1):
    where = f"messages.2.content.{index}.{place}"
    return anthropic_error(400, "invalid_request_error", f"{where}: {words}")


def request(turns):
    return MessagesRequest(orjson.dumps({"model": "m", "max_tokens": 9, "messages": turns}))


async def sent(server, *requests, native=True):
    """The last turn of each body that arrived."""
    wire = Wire(native_errors=native)
    async with AnthropicBackend("up", "vendor", Upstream(server.url), wire) as backend:
        for asked in requests:
            await (await backend.send(asked, Attempt(backend, "m"))).close()
    return [found.json["messages"][2]["content"] for found in server.requests]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("place", "index"), PLACES.items(), ids=PLACES)
async def test_the_rejected_one_is_left_out_from_then_on(server, place, index, native):
    ok = respond(200, anthropic_message())
    server.script(refused(place, TOO_LARGE, index), ok, ok)
    first, second, third = await sent(server, *[request(messages())] * 2, native=native)
    assert first == messages()[2]["content"]
    changed = [n for n, (was, now) in enumerate(zip(first, second, strict=True)) if was != now]
    assert changed == [index]
    assert "left out" in str(second[index])
    assert third == second


async def test_a_wrong_type_is_corrected(server):
    words = "Image does not match the provided media type image/png"
    ok = respond(200, anthropic_message())
    server.script(refused("image.source.base64.data", words), ok, ok)
    asked = request(messages(image(JPEG)))
    _, second, third = await sent(server, asked, asked)
    assert second[1] == third[1] == image(JPEG, "image/jpeg")


async def test_an_image_that_stays_rejected_is_left_out(server):
    words = "Image does not match the provided media type image/png"
    again = "Could not process image"
    server.script(
        refused("image.source.base64.data", words),
        refused("image.source.base64.data", again),
        respond(200, anthropic_message()),
    )
    assert "left out" in str((await sent(server, request(messages(image(JPEG)))))[2][1])


@pytest.mark.parametrize(
    "words",
    [
        "messages.7.content.1.image.source.base64: image exceeds 5 MB maximum",
        "messages.2.content.99.image.source.base64: image exceeds 5 MB maximum",
        "messages.2.content.0.image.source.base64: image exceeds 5 MB maximum",
        "messages.2.content.1.cache_control: not allowed",
        "an image exceeds 5 MB maximum",
    ],
)
async def test_an_error_that_names_no_image_of_the_request_is_reported(server, words):
    server.script(anthropic_error(400, "invalid_request_error", words))
    with pytest.raises(BackendRefused, match=r"5 MB|not allowed"):
        await sent(server, request(messages(image(JPEG))))  # of a wrong type, which is not said
    assert len(server.requests) == 1


async def test_an_error_that_only_quotes_such_words_takes_the_image_from_one_retry(server):
    refusal = refused("image.source.base64", TOO_LARGE)
    server.script(refusal, refusal, respond(200, anthropic_message()))
    asked = request(messages())
    async with AnthropicBackend("up", "vendor", Upstream(server.url), Wire()) as backend:
        with pytest.raises(BackendRefused):
            await backend.send(asked, Attempt(backend, "m"))
        await (await backend.send(asked, Attempt(backend, "m"))).close()
    bodies = [found.json["messages"][2]["content"][1] for found in server.requests]
    assert [body == image() for body in bodies] == [True, False, True]


def test_the_oldest_are_forgotten():
    rejected = RejectedMedia()
    for number in range(MOST_REMEMBERED + 1):
        data = base64.b64encode(b"\x89PNG\r\n\x1a\n%09d" % number).decode()
        asked = request(messages(image(data)))
        body = b"messages.2.content.1.image.source.base64: image exceeds"
        assert rejected.adapted(BackendRefused(400, body), asked) is not asked
    first = base64.b64encode(b"\x89PNG\r\n\x1a\n%09d" % 0).decode()
    kept = request(messages(image(first)))
    assert rejected.without(kept) is kept
    assert rejected.without(asked) is not asked
