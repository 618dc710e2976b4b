"""A request keeps the client's bytes until somebody changes it, and says what was changed."""

import contextlib
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import REMOVE, InvalidRequest, MessagesRequest
from plugway.exchange.validate import validate

RAW = b'{ "model":"m",  "max_tokens":5, "new_field":[1.50,  "\\u00e9"], "stream": true }'


def request(raw=RAW, headers=(("anthropic-beta", "a,b"), ("x-app", "cli"))):
    return MessagesRequest(raw, headers)


def test_an_unchanged_request_is_the_same_bytes():
    assert request().raw is RAW
    assert not request().changed


def test_reading_the_body_does_not_change_it():
    made = request()
    assert made.model == "m"
    assert made.stream
    assert made.raw is RAW


def test_replacing_one_field_keeps_the_bytes_of_the_others():
    made = request().replace(because="shorter", max_tokens=3)
    assert b'"new_field":[1.50,  "\\u00e9"]' in made.raw
    assert json.loads(made.raw)["max_tokens"] == 3
    assert made.body["max_tokens"] == 3
    assert made.changed


def test_removing_a_field_takes_it_out_of_bytes_and_body():
    made = request().replace(because="unknown there", new_field=REMOVE)
    assert "new_field" not in made.body
    assert "new_field" not in json.loads(made.raw)


@pytest.mark.parametrize("name", ["because", "headers", "self", "names", "new_field"])
def test_a_field_can_be_taken_away_whatever_its_name_is(name):
    made = request(b'{"model":"m","%s":1}' % name.encode()).without([name], because="unknown")
    assert made.raw == b'{"model":"m"}'
    assert [(c.field, c.action, c.because) for c in made.changes] == [(name, "remove", "unknown")]


def test_removing_what_is_not_there_is_no_change():
    made = request().replace(because="not there", thinking=REMOVE)
    assert not made.changed
    assert made.raw is RAW
    assert made.changes == ()


def test_changes_name_field_action_and_reason_in_order():
    made = request().replace(because="one", max_tokens=1).replace(because="two", top_k=4)
    assert [(c.field, c.action, c.because) for c in made.changes] == [
        ("max_tokens", "set", "one"),
        ("top_k", "add", "two"),
    ]


def test_the_original_is_left_as_it_was():
    first = request()
    first.replace(because="x", max_tokens=1)
    assert first.body["max_tokens"] == 5
    assert first.raw is RAW


def test_headers_are_set_added_and_removed_on_the_record():
    made = request().replace(
        because="pairs go together", headers={"Anthropic-Beta": REMOVE, "x-new": "1"}
    )
    assert made.headers == (("x-app", "cli"), ("x-new", "1"))
    assert [(c.field, c.action) for c in made.changes] == [
        ("header:anthropic-beta", "remove"),
        ("header:x-new", "add"),
    ]
    assert made.raw is RAW


def test_a_renamed_model_leaves_everything_else_to_the_byte():
    made = request(b'{"model":"a/b","x":  1}').replace(because="route", model="b")
    assert made.raw == b'{"model":"b","x":  1}'


@pytest.mark.parametrize("raw", [b"null", b"[]", b'"x"', b"3", b"", b"{"])
def test_a_body_that_is_no_object_is_the_callers_fault(raw):
    with pytest.raises(InvalidRequest):
        _ = request(raw).body


@pytest.mark.parametrize("size", [1, 5000])
@pytest.mark.parametrize("read", [lambda r: r.body, lambda r: r.model, lambda r: r.fields])
def test_a_doubled_field_is_refused_whatever_is_read(read, size):
    with pytest.raises(InvalidRequest, match="'x' twice"):
        read(request(b'{"model":"a","x":1,"x":"%b"}' % (b"y" * size)))


def test_a_body_as_most_clients_write_it_is_written_anew_in_the_same_order():
    raw = '{"model":"m","max_tokens":5,"stream":true,"system":"é \\" x","big":1.5}'.encode()
    made = (
        request(raw).replace(because="t", max_tokens=3, top_k=1).replace(because="u", stream=REMOVE)
    )
    assert (
        made.raw == '{"model":"m","max_tokens":3,"system":"é \\" x","big":1.5,"top_k":1}'.encode()
    )


def test_integers_beyond_64_bits_survive_a_change_elsewhere():
    raw = b'{"model":"m","max_tokens":5,"seed":123456789012345678901234567890}'
    assert b"123456789012345678901234567890" in request(raw).replace(because="t", max_tokens=1).raw


PADDING = {"padding": "x" * 5000}
"""Makes a body so large that it is not parsed at once."""

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, max_size=5), st.booleans())
def test_a_field_alone_is_what_it_is_in_the_whole_body(body, ascii_only):
    body = {**body, **PADDING}
    raw = json.dumps(body, ensure_ascii=ascii_only, indent=1).encode("utf-8", "surrogatepass")
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:  # half of a surrogate pair
        with pytest.raises(InvalidRequest):
            _ = request(raw).fields
        return
    made = request(raw)
    assert set(made.fields) == set(body)
    assert {name: made.get(name) for name in body} == body
    assert made.get("not there at all", "default") == "default"
    assert made.body == body
    assert {name: made.get(name) for name in body} == body


def test_nothing_is_parsed_that_nobody_asked_for():
    made = request(json.dumps({"model": "m", "messages": [{"a": 1}], **PADDING}).encode())
    assert made.model == "m"
    assert not made.stream
    assert bytes(made.unparsed("messages")) == b'[{"a": 1}]'
    assert made.get("messages") == [{"a": 1}]
    changed = made.replace(because="t", messages=[])
    assert changed.unparsed("messages") is None
    assert made.body
    assert bytes(made.unparsed("messages")) == b'[{"a": 1}]'


def test_a_change_parses_and_rewrites_no_other_field():
    raw = json.dumps({"model": "m", "top_k": 1, "x": [1.50, "é"], **PADDING}, indent=1).encode()
    made = request(raw).replace(because="t", top_k=REMOVE, tools=[])
    assert b'[\n  1.5,\n  "\\u00e9"\n ]' in made.raw
    assert json.loads(made.raw) == {"model": "m", "x": [1.5, "é"], **PADDING, "tools": []}
    assert made.unparsed("x") is not None


@pytest.mark.parametrize("read", [lambda made: made.get("tools"), lambda made: made.body["tools"]])
def test_tools_that_a_client_repeats_are_parsed_once_and_no_list_is_shared(read):
    tools = [{"name": f"repeated{n}", "input_schema": {"type": "object"}} for n in range(3)]
    made = [request(json.dumps({"model": m, "tools": tools, **PADDING}).encode()) for m in "ab"]
    first, second = (read(one) for one in made if one.model)
    assert first == second == tools
    assert all(a is b for a, b in zip(first, second, strict=True))
    first.clear()
    assert read(request(made[1].raw)) == second == tools


def test_edits_are_seen_without_the_body():
    made = request(json.dumps({"model": "m", "top_k": 1, **PADDING}).encode())
    made = made.replace(because="t", top_k=REMOVE, model="n", stream=True)
    assert (made.model, made.stream, made.get("top_k", 7)) == ("n", True, 7)
    assert set(made.fields) == {"model", "stream", "padding"}
    assert made.body == {"model": "n", "stream": True, **PADDING}
    again = made.replace(because="u", top_k=2)
    assert [c.action for c in again.changes] == ["remove", "set", "add", "add"]
    assert again.get("top_k") == again.body["top_k"] == 2
    assert made.get("top_k") is None


INVALID = {
    "bytes that are not UTF-8": b'{"model":"m","x":"\xff"',
    "half of a pair": b'{"model":"m","x":"\\ud800"',
    "half of a pair, raw": b'{"model":"m","x":"\xed\xa0\x80"',
    "trailing comma": b'{"model":"m","x":[1,2,]',
    "leading zero": b'{"model":"m","x":[01]',
    "NaN": b'{"model":"m","x":{"y":NaN}',
    "control character": b'{"model":"m","x":"\x01"',
    "no such escape": b'{"model":"m","x":"\\x41"',
    "mismatched": b'{"model":"m","x":[1}',
    "key without quotes": b'{"model":"m","x":{y:1}',
    "two documents": b'{"model":"m"}{"x":1',
    "too deep to read": b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("start", INVALID.values(), ids=INVALID)
def test_what_is_wrong_in_a_field_that_nobody_reads_is_found_too(start):
    raw = start + b',"padding":"' + b"x" * 5000 + b'"}'
    with pytest.raises(InvalidRequest) as whole:
        _ = request(raw).body
    for read in (lambda made: made.fields, lambda made: made.model, lambda made: made.stream):
        with pytest.raises(InvalidRequest) as told:
            read(request(raw))
        assert str(told.value) == str(whole.value)


@pytest.mark.parametrize("name", ["x", "tools"])
@pytest.mark.parametrize(("depth", "accepted"), [(239, True), (240, False)])
def test_a_body_may_be_as_deep_however_it_is_read(name, depth, accepted):
    deep = b"[" * depth + b"]" * depth
    raw = b'{"model":"m","%b":%b,"padding":"%b"}' % (name.encode(), deep, b"x" * 5000)
    for read in (lambda made: made.get(name), lambda made: (made.fields, made.body)):
        for _ in range(2):
            if accepted:
                assert read(request(raw))
            else:
                with pytest.raises(InvalidRequest, match="240 levels"):
                    read(request(raw))
    with contextlib.nullcontext() if accepted else pytest.raises(InvalidRequest, match="240"):
        assert request(raw).body


def test_a_field_that_is_too_deep_is_refused_when_it_is_read():
    raw = b'{"model":"m","x":' + b"[" * 300 + b"]" * 300 + b',"padding":"' + b"x" * 5000 + b'"}'
    made = request(raw)
    assert made.model == "m"
    for read in (lambda: made.get("x"), lambda: made.body):
        with pytest.raises(InvalidRequest, match="240 levels"):
            read()


@given(
    st.lists(
        st.one_of(
            st.integers() | st.none() | st.just({}),
            st.fixed_dictionaries(
                {},
                optional={
                    "role": st.sampled_from(["user", "", 1, None]),
                    "content": st.sampled_from(["x", "", [], [1], {}, None, True]),
                },
            ),
        ),
        max_size=3,
    )
)
def test_messages_are_checked_alike_whether_parsed_or_not(messages):
    def told(made):
        try:
            validate(made)
        except InvalidRequest as error:
            return str(error)
        return ""

    raw = json.dumps({"model": "m", "max_tokens": 1, "messages": messages, **PADDING}).encode()
    read = request(raw)
    assert read.body
    assert told(request(raw)) == told(read)


@pytest.mark.parametrize("filler", [0, 10_000])
@pytest.mark.parametrize(
    ("tools", "offers"),
    [
        ([{"name": "Bash", "input_schema": {"type": "object"}}], True),
        ([{"type": "web_search_20250305", "name": "web_search"}], False),
        ([], False),
        (None, False),
        ("Bash", False),
    ],
)
def test_tools_that_the_client_runs_are_those_with_a_schema(tools, offers, filler):
    body = {"model": "m", "system": "x" * filler}
    body |= {} if tools is None else {"tools": tools}
    made = MessagesRequest(orjson.dumps(body))
    assert made.offers_tools is offers
    assert made.body["model"] == "m"
    assert made.offers_tools is offers


@pytest.mark.parametrize("size", [1, 5000])
@pytest.mark.parametrize(
    "number", ["1e999", "-1e309", "9" * 400, "[1, 1e999]", '{"a": -1e999}', f"0.{'9' * 9}e400"]
)
def test_a_number_that_is_infinite_to_some_readers_is_refused_at_any_size(number, size):
    raw = f'{{"model":"m","seed":{number},"messages":[{{"role":"user","content":"{"y" * size}"}}]}}'
    for ask in (lambda request: request.fields, lambda request: request.get("seed")):
        with pytest.raises(InvalidRequest, match=r"line 1, column 2\d: number is infinity"):
            ask(MessagesRequest(raw.encode()))


@pytest.mark.parametrize("number", ["1e-999", "18446744073709551616", "1.50", "-0", '"1e999"'])
def test_a_number_that_all_can_read_goes_on_as_it_is_written(number):
    raw = f'{{"model":"m","seed":{number},"messages":["{"y" * 5000}"]}}'.encode()
    request = MessagesRequest(raw)
    assert "seed" in request.fields
    assert request.raw == raw
