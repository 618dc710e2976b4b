"""Images and documents are found in whatever form a request has them."""

import orjson
import pytest

from plugway import MessagesRequest
from plugway.types.request import Original
from plugway_prices import DOCUMENT_TOKENS, IMAGE_TOKENS, Media, media_in, replies_in

PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
URL = {"type": "url", "url": "https://example.org/a"}
TEXT = {"type": "text", "media_type": "text/plain", "data": "words"}


def image(source):
    return {"type": "image", "source": source}


def document(source):
    return {"type": "document", "source": source}


def result(*content):
    return {"type": "tool_result", "tool_use_id": "t", "content": list(content)}


def body(*content):
    return orjson.dumps({"model": "m", "messages": [{"role": "user", "content": list(content)}]})


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ([], (0, 0)),
        ([image(PNG), image(URL), image({"type": "file", "file_id": "f"})], (3, 0)),
        ([document(PDF)], (0, 1)),
        ([document(URL)], (0, 1)),
        ([document(TEXT)], (0, 0)),
        ([document({"type": "content", "content": [image(URL)]})], (1, 0)),
        ([result(image(PNG), document(PDF))], (1, 1)),
        ([{"type": "text", "text": '{"type": "image", "url": "https://example.org"}'}], (0, 0)),
        ([{"type": "tool_use", "id": "t", "name": "image", "input": URL}], (0, 0)),
    ],
)
def test_media_of_a_message_are_its_blocks_and_nothing_that_looks_like_them(content, found):
    assert media_in(MessagesRequest(body(*content))) == found


def test_an_escaped_letter_hides_nothing():
    raw = body(image(URL), document(PDF))
    raw = raw.replace(b'"image"', b'"\\u0069mage"').replace(b'"document"', b'"d\\u006fcument"')
    assert media_in(MessagesRequest(raw)) == (1, 1)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({"type": "input_image", "image_url": "https://example.org/a.png"}, (1, 0)),
        ({"type": "input_file", "file_url": "https://example.org/a.pdf"}, (1, 1)),
        ({"type": "input_text", "text": "words"}, (0, 0)),
    ],
)
@pytest.mark.parametrize("escaped", [False, True])
def test_media_of_another_api_are_found_in_its_own_bytes(part, found, escaped):
    raw = orjson.dumps({"model": "m", "input": [{"role": "user", "content": [part]}]})
    if escaped:
        raw = raw.replace(b"_url", b"_\\u0075rl")
    original = Original("openai-responses", "/v1/responses", raw)
    assert media_in(MessagesRequest(body(), original=original)) == found


def test_they_have_tokens_that_their_bytes_do_not_say():
    assert Media(2, 3).tokens == 2 * IMAGE_TOKENS + DOCUMENT_TOKENS
    assert Media(0, 0).tokens == 0


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": True}, 1),
        ({"generationConfig": {"candidateCount": 4}}, 4),
        ({"generation_config": {"candidate_count": 5}, "generationConfig": {}}, 5),
        ({"generationConfig": [4]}, 1),
    ],
)
def test_the_replies_that_another_api_asks_for_are_counted(fields, found):
    original = Original("another", "/", orjson.dumps(fields))
    assert replies_in(MessagesRequest(b"{}", original=original)) == found
    assert replies_in(MessagesRequest(orjson.dumps(fields))) == 1
