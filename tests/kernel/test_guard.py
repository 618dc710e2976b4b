import json
from contextlib import suppress

import anyio
import pytest

from plugway.exchange.intake import ClientGone, read_body
from plugway.http.guard import Caller, Guard, GuardPolicy
from plugway.http.server import serving
from plugway_wire.errors import RequestRejected

pytestmark = pytest.mark.anyio

TOKEN = "tok-" + "a" * 40
CLOSE = {"connection": "close"}
BARE = {"host": "localhost", **CLOSE}
GOOD = {"host": "127.0.0.1", "authorization": f"Bearer {TOKEN}", "connection": "close"}
JSON = {**GOOD, "content-type": "application/json", "content-length": "2"}


class Inside:
    """An application that records what the guard lets in."""

    def __init__(self):
        self.scopes = []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


class Door:
    def __init__(self, port, inside):
        self.port = port
        self.inside = inside

    async def ask(self, method="GET", path="/v1/models", headers=None, body=b""):
        """Status, headers and body of the answer to one request on a connection of its own."""
        headers = GOOD if headers is None else headers
        lines = headers.items() if isinstance(headers, dict) else headers
        head = [f"{method} {path} HTTP/1.1".encode()]
        for name, value in lines:
            value = value if isinstance(value, bytes) else str(value).encode()
            head.append(name.encode() + b": " + value.replace(b"PORT", str(self.port).encode()))
        answer = await self.raw(b"\r\n".join(head) + b"\r\n\r\n" + body)
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body

    async def raw(self, data):
        with anyio.fail_after(5):
            async with await anyio.connect_tcp("127.0.0.1", self.port) as stream:
                with suppress(anyio.BrokenResourceError):
                    await stream.send(data)
                answer = b""
                with suppress(anyio.BrokenResourceError):
                    async for chunk in stream:
                        answer += chunk
                return answer


@pytest.fixture
async def door():
    inside = Inside()
    policy = GuardPolicy(
        {b"other-token": Caller(), TOKEN.encode(): Caller()},
        hosts=frozenset({"gw.example:8443"}),
        origins=frozenset({"http://ui.example"}),
    )
    async with serving(Guard(inside, lambda: policy)) as port:
        yield Door(port, inside)


async def refused(door, status, **request):
    found, headers, body = await door.ask(**request)
    assert found == status
    assert not door.inside.scopes
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["content-type"] == "application/json"
    error = json.loads(body)
    assert error["request_id"] == headers["request-id"]
    assert len(error["request_id"]) == 28
    return headers, error["error"]


# ---- who may come in


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer  {TOKEN}"},
        {"authorization": TOKEN},
        {"authorization": f"Basic {TOKEN}"},
        {"x-api-key": f"{TOKEN}x"},
        {"x-api-key": TOKEN[:-1]},
        {"x-api-key": "t" * 60_000},
        {"api-key": TOKEN},
        {"cookie": f"token={TOKEN}; authorization={TOKEN}"},
        {"x-api-key": "' OR 1=1--"},
        {"x-api-key": b"\xff\xfe\xff"},
        {"x-api-key": TOKEN.replace("a", "\u0430")},
    ],
)
async def test_without_the_token_the_answer_is_401_and_no_retry(door, credential):
    headers, error = await refused(door, 401, headers={"host": "localhost", **credential, **CLOSE})
    assert error["type"] == "authentication_error"
    assert "ANTHROPIC_AUTH_TOKEN" in error["message"]
    assert "plugway status" in error["message"]
    assert headers["x-should-retry"] == "false"


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "plugway-token"])
async def test_a_credential_that_stands_twice_is_refused(door, name):
    value = f"Bearer {TOKEN}" if name == "authorization" else TOKEN
    lines = [*BARE.items(), (name, value), (name, "other")]
    _, error = await refused(door, 400, headers=lines)
    assert error["message"] == f"more than one `{name}` header"


async def test_a_token_in_the_query_is_never_accepted(door):
    path = f"/v1/models?token={TOKEN}&x-api-key={TOKEN}&key={TOKEN}"
    await refused(door, 401, path=path, headers=BARE)


@pytest.mark.parametrize(
    "credential",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"Authorization": f"bearer {TOKEN}"},
        {"x-api-key": TOKEN},
        {"x-api-key": "other-token"},
        {"plugway-token": TOKEN},
        {"authorization": f"Bearer {TOKEN}", "x-api-key": TOKEN},
        {"authorization": "Bearer wrong", "x-api-key": TOKEN},
    ],
)
async def test_the_token_is_accepted_in_each_of_its_headers(door, credential):
    status, _, body = await door.ask(headers={"host": "localhost", **credential, **CLOSE})
    assert (status, body) == (200, b"6\r\ninside\r\n0\r\n\r\n")
    assert door.inside.scopes[0]["plugway.caller"].name == "owner"


async def test_wrong_credentials_are_limited_per_peer_and_the_right_one_still_works(door):
    wrong = {"host": "localhost", "x-api-key": "wrong", **CLOSE}
    statuses = [(await door.ask(headers=wrong))[0] for _ in range(21)]
    assert statuses == [401] * 20 + [429]
    _, headers, body = await door.ask(headers=wrong)
    assert 0 < int(headers["retry-after"]) <= 60
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    assert (await door.ask())[0] == 200


async def test_the_table_of_failing_peers_does_not_grow_without_bound():
    policy = GuardPolicy({b"t": Caller()})
    guard = Guard(Inside(), lambda: policy)
    for number in range(1500):
        await in_memory(guard, client=(f"10.0.{number // 250}.{number % 250}", 1))
    assert len(guard._failures._peers) == 1024


async def test_without_any_token_configured_nobody_comes_in():
    policy = GuardPolicy({})
    messages = await in_memory(Guard(Inside(), lambda: policy), headers=[(b"x-api-key", b"")])
    assert messages[0]["status"] == 401


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/api/hello", "/health", "/readyz"])
async def test_public_paths_need_no_credential(door, method, path):
    status, _, _ = await door.ask(method, path, BARE)
    assert status == 200
    assert door.inside.scopes[0]["plugway.caller"] == Caller("anonymous")


@pytest.mark.parametrize("path", ["//", "/health/", "/HEALTH", "/readyz/x", "/v1/messages"])
async def test_what_only_resembles_a_public_path_needs_a_credential(door, path):
    await refused(door, 401, path=path, headers=BARE)


async def test_public_paths_are_public_only_for_reading(door):
    await refused(door, 401, method="DELETE", path="/health", headers=BARE)


async def test_an_error_for_head_has_no_body(door):
    status, headers, body = await door.ask("HEAD", "/v1/models", BARE)
    assert (status, body) == (401, b"")
    assert int(headers["content-length"]) > 0, "as for GET (RFC 9110, 9.3.2)"


# ---- where it may come from


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "[::1]"),
        *("127.0.0.1:PORT", "LocalHost:PORT", "[::1]:PORT"),
        "gw.example:8443",
    ],
)
async def test_loopback_names_and_configured_hosts_are_served(door, host):
    assert (await door.ask(headers={**GOOD, "host": host}))[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.com",
        "evil.com:PORT",
        "127.0.0.1.evil.com",
        "localhost.",
        "localhost:1",
        "localhost:PORT:PORT",
        "0.0.0.0",
        "[::ffff:127.0.0.1]",
        "127.1",
        "2130706433",
        "user@localhost",
        "localhost/v1",
        "gw.example",
        "",
        b"\xff",
    ],
)
async def test_any_other_host_is_refused_before_the_credential_is_looked_at(door, host):
    await refused(door, 421, headers={**GOOD, "host": host})
    await refused(door, 421, headers={"host": host, **CLOSE})


@pytest.mark.parametrize(("hosts", "status"), [([], 421), ([b"localhost", b"localhost"], 400)])
async def test_exactly_one_host_is_needed_whatever_server_is_used(hosts, status):
    guard = Guard(Inside(), lambda: GuardPolicy({b"t": Caller()}))
    headers = [(b"x-api-key", b"t"), *((b"host", host) for host in hosts)]
    messages = await in_memory(guard, headers=headers, add_host=False)
    assert messages[0]["status"] == status


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.com",
        "null",
        "http://localhost:3000",
        "http://localhost.evil.com",
        "http://127.0.0.1:PORT",
        "http://ui.example.evil.com",
        "",
    ],
)
async def test_requests_of_web_pages_are_refused(door, origin):
    _, error = await refused(door, 403, headers={**GOOD, "origin": origin})
    assert error["type"] == "permission_error"


async def test_a_configured_origin_is_served(door):
    assert (await door.ask(headers={**GOOD, "origin": "http://ui.example"}))[0] == 200


@pytest.mark.parametrize(
    ("site", "status"),
    [("cross-site", 403), ("Same-Site", 403), ("same-origin", 200), ("none", 200)],
)
async def test_pages_of_other_sites_are_refused_also_without_an_origin(door, site, status):
    assert (await door.ask(headers={**GOOD, "sec-fetch-site": site}))[0] == status


async def test_claude_code_with_its_browser_header_is_served(door):
    headers = {**JSON, "anthropic-dangerous-direct-browser-access": "true"}
    status, _, _ = await door.ask("POST", "/v1/messages", headers, b"{}")
    assert status == 200


# ---- what it may be


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "PATCH", "PROPFIND"])
async def test_other_methods_are_refused(door, method):
    override = {**GOOD, "x-http-method-override": "POST"}
    await refused(door, 405, method=method, headers=override)


@pytest.mark.parametrize("method", ["BREW", "get"])
async def test_a_verb_that_no_standard_has_is_no_request(door, method):
    await refused(door, 400, method=method, headers=GOOD)


async def test_connect_is_refused(door):
    await refused(door, 405, method="CONNECT", path="example.com:443")


async def test_a_preflight_gets_no_permission(door):
    preflight = {"origin": "http://ui.example", "access-control-request-method": "POST"}
    await refused(door, 405, method="OPTIONS", headers={**BARE, **preflight})


@pytest.mark.parametrize(
    "types",
    [
        [],
        ["text/plain"],
        ["application/x-www-form-urlencoded"],
        ["multipart/form-data; boundary=x"],
        ["application/json, text/plain"],
        ["application/jsonp"],
        ["application/json", "application/json"],
        ["application/json", "text/plain"],
        [""],
    ],
)
async def test_a_post_without_one_json_content_type_is_refused(door, types):
    headers = [*GOOD.items(), ("content-length", "2"), *(("content-type", t) for t in types)]
    await refused(door, 415, method="POST", headers=headers, body=b"{}")


@pytest.mark.parametrize(
    "encodings",
    [
        *(["gzip"], ["GZIP"], ["x-gzip"], ["deflate"], ["br"], ["zstd"], ["compress"]),
        *(["gzip, identity"], ["identity", "gzip"], ["nonsense"]),
    ],
)
async def test_a_body_that_is_packed_is_refused_and_told_what_is_taken(door, encodings):
    lines = [*JSON.items(), *(("content-encoding", e) for e in encodings)]
    headers, error = await refused(door, 415, method="POST", headers=lines, body=b"{}")
    assert "content-encoding" in error["message"]
    if len(encodings) == 1:
        assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
async def test_a_body_that_is_not_packed_is_served_though_a_line_says_so(door, encoding):
    headers = {**JSON, "content-encoding": encoding}
    assert (await door.ask("POST", "/v1/messages", headers, b"{}"))[0] == 200


@pytest.mark.parametrize("type", ["application/json", "Application/JSON; charset=utf-8"])
async def test_a_post_with_json_is_served(door, type):
    headers = {**JSON, "content-type": type}
    assert (await door.ask("POST", "/v1/messages", headers, b"{}"))[0] == 200


async def test_a_body_declared_too_large_is_refused_without_being_read(door):
    headers = {**JSON, "content-length": str(40 * 2**20), "expect": "100-continue"}
    answer = await door.raw(
        b"POST /v1/messages HTTP/1.1\r\n"
        + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        + b"\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"request_too_large" in answer
    assert not door.inside.scopes


async def test_a_client_that_sends_its_large_body_anyway_can_read_the_answer(door):
    headers = {**JSON, "content-length": str(33 * 2**20)}
    headers, error = await refused(
        door, 413, method="POST", headers=headers, body=bytes(33 * 2**20)
    )
    assert error["type"] == "request_too_large"
    assert headers["connection"] == "close"


async def test_a_client_that_sends_5_mb_after_a_413_can_read_all_of_it(door):
    lines = {**JSON, "content-length": str(40 * 2**20)}
    head = b"POST /v1/messages HTTP/1.1\r\n" + b"".join(
        f"{name}: {value}\r\n".encode() for name, value in lines.items()
    )
    async with await anyio.connect_tcp("127.0.0.1", door.port) as stream:
        await stream.send(head + b"\r\n")
        with anyio.fail_after(5):
            first = await stream.receive()
            for _ in range(80):
                await stream.send(bytes(2**16))
            await stream.send_eof()
            answer = first + b"".join([piece async for piece in stream])
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["type"] == "request_too_large"


# ---- what goes further in


async def test_credentials_and_cookies_do_not_go_further_in(door):
    foreign = {
        "x-api-key": "sk-client",
        "x-goog-api-key": "goog",
        "api-key": "azure",
        "cookie": "session=1",
        "proxy-authorization": "Basic x",
        "forwarded": "for=1.2.3.4",
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-host": "evil.com",
        "x-forwarded-proto": "https",
        "x-real-ip": "1.2.3.4",
    }
    await door.ask(headers={**GOOD, **foreign, "anthropic-version": "2023-06-01"})
    (scope,) = door.inside.scopes
    assert scope["headers"] == [
        (b"host", b"127.0.0.1"),
        (b"connection", b"close"),
        (b"anthropic-version", b"2023-06-01"),
    ]
    assert scope["scheme"] == "http"
    assert scope["client"][0] == "127.0.0.1"
    assert scope["plugway.request_id"].startswith("req_")
    caller = scope["plugway.caller"]
    assert caller.credentials == (
        (b"api-key", b"azure"),
        (b"x-api-key", b"sk-client"),
        (b"x-goog-api-key", b"goog"),
    )
    assert "sk-client" not in repr(caller)


async def test_the_clients_own_credential_survives_beside_the_gateways(door):
    own = {**BARE, "plugway-token": TOKEN, "authorization": "Bearer oauth"}
    await door.ask(headers=own)
    assert door.inside.scopes[0]["plugway.caller"].credentials == (
        (b"authorization", b"Bearer oauth"),
    )


def test_a_policy_does_not_show_its_tokens():
    assert TOKEN not in repr(GuardPolicy({TOKEN.encode(): Caller()}))


async def test_websockets_are_refused():
    sent = []

    async def send(message):
        sent.append(message)

    guard = Guard(Inside(), lambda: GuardPolicy({b"t": Caller()}))
    await guard({"type": "websocket", "headers": []}, None, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def in_memory(guard, headers=(), client=("127.0.0.1", 1), add_host=True):
    sent = []

    async def send(message):
        sent.append(message)

    host = [(b"host", b"localhost")] if add_host else []
    scope = {"type": "http", "method": "GET", "path": "/v1/models", "client": client}
    scope |= {"headers": [*host, *headers], "server": ("127.0.0.1", 8484)}
    await guard(scope, None, send)
    return sent


# ---- reading a body


class Arriving:
    """`receive` of a request whose body arrives in pieces, each after a delay."""

    def __init__(self, *pieces, delay=0.0, end=True):
        self.pieces = list(pieces)
        self.delay = delay
        self.end = end

    async def __call__(self):
        await anyio.sleep(self.delay)
        if not self.pieces:
            await anyio.sleep_forever()
        piece = self.pieces.pop(0)
        if piece is None:
            return {"type": "http.disconnect"}
        return {
            "type": "http.request",
            "body": piece,
            "more_body": bool(self.pieces or not self.end),
        }


def scope_of(*lengths):
    return {"headers": [(b"content-length", str(length).encode()) for length in lengths]}


async def test_a_body_is_joined():
    body = await read_body(scope_of(), Arriving(b"ab", b"", b"cd"), max_bytes=4)
    assert body == b"abcd"


@pytest.mark.parametrize("scope", [scope_of(), scope_of(5)])
async def test_a_body_over_the_limit_is_413(scope):
    with pytest.raises(RequestRejected) as caught:
        await read_body(scope, Arriving(b"abc", b"de"), max_bytes=4)
    assert (caught.value.status, caught.value.type) == (413, "request_too_large")


async def test_a_client_that_leaves_is_no_error_of_the_request():
    with pytest.raises(ClientGone):
        await read_body(scope_of(), Arriving(b"abc", None), max_bytes=9)


async def test_a_body_that_stops_is_408():
    stopping = Arriving(b"abc", end=False)
    with anyio.fail_after(5), pytest.raises(RequestRejected) as caught:
        await read_body(scope_of(100_000), stopping, max_bytes=10**6, deadline_seconds=0.1)
    assert (caught.value.status, caught.value.type) == (408, "timeout_error")
    assert "3 bytes" in caught.value.message


async def test_a_body_below_the_floor_is_408_and_one_above_it_is_read():
    pieces = [bytes(1000)] * 20

    async def read(floor):
        body = Arriving(*pieces, delay=0.01)
        options = {"deadline_seconds": 0.05, "floor_bytes_per_second": floor}
        return await read_body(scope_of(), body, max_bytes=10**6, **options)

    assert len(await read(floor=10_000)) == 20_000
    with pytest.raises(RequestRejected):
        await read(floor=10**9)


async def test_large_bodies_are_read_one_at_a_time():
    lock = anyio.Lock()
    reading = 0
    most = 0

    async def one(large):
        size = 9 * 2**20 if large else 10
        pieces = [bytes(size // 2), bytes(size // 2)]

        async def receive():
            nonlocal reading, most
            if large:
                reading += len(pieces) == 2
                most = max(most, reading)
                await anyio.sleep(0.01)
                reading -= len(pieces) == 1
            body = pieces.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(pieces)}

        scope = {**scope_of(size), "plugway.large_bodies": lock}
        assert len(await read_body(scope, receive, max_bytes=2**25)) == size

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for large in (True, True, False, True, False):
                tasks.start_soon(one, large)
    assert most == 1
