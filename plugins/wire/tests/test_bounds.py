"""How much JSON is taken: by the number of its values, wherever they stand."""

import threading

import orjson
import pytest

from plugway import BackendProtocolError, MessagesRequest
from plugway_wire.bounds import (
    MAX_DIGITS,
    MAX_ESCAPES,
    MAX_VALUES,
    aside,
    check_answer,
    check_values,
)
from plugway_wire.errors import RequestRejected

pytestmark = pytest.mark.anyio
MIB = 2**20
SOME = 2**18

TEXTS = {
    "marks": ",[{" * SOME,
    "escapes": '"' * SOME + ",",
    "backslashes": "\\" * SOME + "," * SOME,
    "an odd backslash at the end of a slice": "x" * (MIB - 10) + '\\",[{' * 100_000,
    "quotes": ',"' * SOME,
    "beyond ASCII": "é,😀" * SOME,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
@pytest.mark.parametrize("before", range(4))
async def test_marks_within_texts_are_no_values(text, before):
    await check_values(orjson.dumps({"a" * before: text, "b": [text, text]}))


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
@pytest.mark.parametrize("many", [b"[]," * MAX_VALUES, b'"",' * MAX_VALUES, b"{}," * MAX_VALUES])
async def test_values_beside_texts_are_counted(text, many):
    with pytest.raises(RequestRejected, match="more than 100000 JSON values") as refused:
        await check_values(b"[" + orjson.dumps(text) + b"," + many + b"0]")
    assert (refused.value.status, refused.value.type) == (413, "request_too_large")


async def test_a_body_at_the_limit_is_taken():
    await check_values(b"[" + b"1," * (MAX_VALUES - 2) + b"0]")
    with pytest.raises(RequestRejected):
        await check_values(b"[" + b"1," * (MAX_VALUES + 1) + b"0]")


async def test_escapes_and_digits_have_limits_too():
    with pytest.raises(RequestRejected, match="escapes"):
        await check_values(b'"' + b'\\"' * (MAX_ESCAPES + 1) + b'"')
    with pytest.raises(RequestRejected, match="digits"):
        await check_values(b"1" * (MAX_DIGITS + 1))


def test_an_answer_has_a_limit_as_well():
    check_answer(b"[" + b"1," * 90_000 + b"0]")
    with pytest.raises(BackendProtocolError, match="more than 100000 JSON values"):
        check_answer(b"[" + b"1," * 110_000 + b"0]")


async def test_work_on_a_large_request_is_done_in_another_thread():
    here = threading.get_ident()
    assert await aside(False, threading.get_ident) == here
    assert await aside(True, threading.get_ident) != here
    assert MessagesRequest(b'{"a":[' + b"1," * 6000 + b"0]}").heavy
    assert not MessagesRequest(b'{"a":[1]}').heavy
