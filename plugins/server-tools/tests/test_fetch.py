"""Pages over real sockets, and every way to reach what is not public."""

import gzip
import ssl

import anyio
import anyio.lowlevel
import pytest
import trustme

from plugway.testing import Cut, ScriptedUpstream, Sleep, respond
from plugway_server_tools import _fetch
from plugway_server_tools._fetch import Fetcher, place_of
from plugway_server_tools._options import FetchOptions
from plugway_server_tools._search import ToolFailed

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

HTML = {"content-type": "text/html; charset=utf-8"}
PLAIN = {"content-type": "text/plain"}
PAGE = b"<title>Oslo</title><main><h1>Weather</h1><p>Sunny &amp; warm.</p></main>"


def anything(url):
    return True


def fetcher(*hosts, **options):
    return Fetcher(FetchOptions(from_zones=("*",), allow_hosts=hosts, **options))


async def fetched(answer, path="/", **options):
    """The page of a server on this machine, which the options allow."""
    async with ScriptedUpstream(otherwise=lambda _: answer) as upstream:
        host = upstream.url.removeprefix("http://")
        return await fetcher(host, **options).fetch(upstream.url + path, anything)


async def refused(answer, **options):
    with pytest.raises(ToolFailed) as found:
        await fetched(answer, **options)
    return found.value.code


async def test_a_page_becomes_its_title_and_its_text():
    page = await fetched(respond(200, PAGE, HTML))
    assert page.title == "Oslo"
    assert page.text == "# Weather\n\nSunny & warm."


@pytest.mark.parametrize("kind", ["text/plain", "text/markdown", "application/json", "text/csv"])
async def test_text_and_json_are_returned_as_they_are(kind):
    page = await fetched(respond(200, b'{"a": 1}', {"content-type": kind}))
    assert page.text == '{"a": 1}'


@pytest.mark.parametrize("kind", ["application/pdf", "image/png", "application/octet-stream"])
async def test_what_is_not_text_is_refused(kind):
    code = await refused(respond(200, b"%PDF", {"content-type": kind}))
    assert code == "unsupported_content_type"


@pytest.mark.parametrize(
    ("charset", "data"),
    [
        ("iso-8859-1", "æøå".encode("latin-1")),
        ("Shift_JIS", "天気".encode("shift_jis")),
        ("punycode", "æøå".encode()),
        ("zip", "æøå".encode()),
    ],
)
async def test_a_page_is_read_in_its_own_encoding_if_that_is_one_of_text(charset, data):
    page = await fetched(respond(200, data, {"content-type": f"text/plain; charset={charset}"}))
    assert page.text in ("æøå", "天気")


async def test_the_text_of_a_page_is_harmless_and_cut():
    page = await fetched(respond(200, b"\x1b[2J" + b"a" * 5_000, PLAIN), max_characters=1_000)
    assert "\x1b" not in page.text
    assert page.text.endswith("[cut after 1,000 characters]")


async def test_a_compressed_page_is_unpacked_and_a_bomb_is_not():
    small = gzip.compress(PAGE)
    lines = {**HTML, "content-encoding": "gzip"}
    assert (await fetched(respond(200, small, lines))).title == "Oslo"
    bomb = gzip.compress(b"\0" * (64 * 2**20))
    assert await refused(respond(200, bomb, lines)) == "content_too_large"


async def test_compressed_data_that_unpacks_to_nothing_ends_at_the_size_of_a_page():
    empty = gzip.compress(b"", mtime=0)[:10] + b"\0\0\0\xff\xff" * 1_000
    lines = {**PLAIN, "content-encoding": "gzip"}
    assert await refused(respond(200, empty, lines), max_bytes=1_000) == "content_too_large"


async def test_what_follows_the_compressed_page_is_not_read():
    lines = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-encoding: gzip\r\n\r\n"
    page = await fetched([lines + gzip.compress(PAGE), Sleep(20.0)], seconds=5)
    assert page.title == "Oslo"


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("[::1]:3000", "http://[::1]:3000/"),
        ("[::1]", "http://[::1]:8080/"),
        ("Intra.Example.:3000", "http://intra.example:3000/"),
    ],
)
async def test_an_allowed_host_is_allowed_however_it_is_written(entry, url, monkeypatch):
    connected = []

    async def connect(self, place, address):
        connected.append(place.url)
        raise OSError

    async def resolve(host, port):
        return [(0, 0, 0, "", ("::1", port))]

    monkeypatch.setattr(Fetcher, "_connected", connect)
    monkeypatch.setattr(_fetch.anyio, "getaddrinfo", resolve)
    with pytest.raises(ToolFailed, match="cannot be reached"):
        await fetcher(entry).fetch(url, anything)
    assert connected


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (respond(404, b"", PLAIN), "url_not_accessible"),
        (respond(500, b"", PLAIN), "url_not_accessible"),
        (respond(429, b"", PLAIN), "too_many_requests"),
        (respond(200, b"x" * 2_000, PLAIN), "content_too_large"),
        (respond(200, b"x", {**PLAIN, "content-encoding": "br"}), "unsupported_content_type"),
        (respond(200, b"x", {**PLAIN, "content-encoding": "gzip"}), "url_not_accessible"),
        (respond(302, b"", {"location": "http://[::1"}), "url_not_accessible"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx", Cut()], "url_not_accessible"),
        ([b"not HTTP\r\n\r\n"], "url_not_accessible"),
        ([Sleep(20.0)], "url_not_accessible"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_server_that_fails_is_an_error_of_the_call(answer, code):
    assert await refused(answer, max_bytes=1_000, seconds=0.5) == code


# ── what is not public ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://017700000001/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://[fd00:ec2::254]/",
        "http://localhost./",
        "http://１２７.0.0.1/",
    ],
)
async def test_an_address_that_is_not_public_is_refused_however_it_is_written(url):
    with pytest.raises(ToolFailed) as found:
        await fetcher().fetch(url, anything)
    assert found.value.code == "url_not_allowed"
    assert "allow_hosts" in found.value.reason


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", "invalid_tool_input"),
        ("ftp://a.example/", "invalid_tool_input"),
        ("gopher://a.example/", "invalid_tool_input"),
        ("javascript:alert(1)", "invalid_tool_input"),
        ("//a.example/", "invalid_tool_input"),
        ("a.example", "invalid_tool_input"),
        ("http:///x", "invalid_tool_input"),
        ("http://a.example\\@127.0.0.1/", "invalid_tool_input"),
        ("http://a.example/\r\nhost: b", "invalid_tool_input"),
        ("http://a.example:0/", "invalid_tool_input"),
        ("http://a.example:99999/", "invalid_tool_input"),
        ("http://%31%32%37.0.0.1/", "invalid_tool_input"),
        ("http://[fe80::1%25eth0]/", "invalid_tool_input"),
        ("http://user:pass@a.example/", "url_not_allowed"),
        ("http://a.example:22/", "url_not_allowed"),
        ("https://a.example:6379/", "url_not_allowed"),
        ("https://a.example/" + "x" * 3_000, "url_too_long"),
    ],
)
async def test_a_url_that_is_not_a_plain_web_address_is_refused(url, code):
    with pytest.raises(ToolFailed) as found:
        await fetcher().fetch(url, anything)
    assert found.value.code == code


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{other}/", "//localhost:{other}/", "http://2130706433:{other}/"]
)
async def test_a_redirect_is_checked_like_the_first_url(target):
    async with ScriptedUpstream() as other:
        port = other.url.rpartition(":")[2]
        location = {"location": target.format(other=port)}
        async with ScriptedUpstream(otherwise=lambda _: respond(302, b"", location)) as upstream:
            host = upstream.url.removeprefix("http://")
            with pytest.raises(ToolFailed) as found:
                await fetcher(host).fetch(upstream.url, anything)
    assert found.value.code == "url_not_allowed"
    assert other.requests == []


async def test_redirects_are_followed_five_times():
    def hops(number):
        def answer(request):
            at = int(request.path[1:])
            if at < number:
                return respond(302, b"", {"location": f"/{at + 1}"})
            return respond(200, b"there", PLAIN)

        return answer

    async with ScriptedUpstream(otherwise=hops(5)) as upstream:
        page = await fetcher(upstream.url[7:]).fetch(f"{upstream.url}/0", anything)
    assert (page.text, page.url) == ("there", f"{upstream.url}/5")
    async with ScriptedUpstream(otherwise=hops(6)) as upstream:
        with pytest.raises(ToolFailed, match="more than 5 times"):
            await fetcher(upstream.url[7:]).fetch(f"{upstream.url}/0", anything)


async def test_a_redirect_out_of_the_allowed_domains_is_refused():
    location = {"location": "https://evil.example/"}
    async with ScriptedUpstream(otherwise=lambda _: respond(302, b"", location)) as upstream:
        with pytest.raises(ToolFailed) as found:
            await fetcher(upstream.url[7:]).fetch(upstream.url, lambda url: "evil" not in url)
    assert found.value.code == "url_not_allowed"


async def test_a_name_is_resolved_once_and_the_connection_goes_to_the_checked_address(monkeypatch):
    asked = []

    async def first_public_then_here(host, port, **_):
        asked.append(host)
        address = "203.0.113.1" if len(asked) > 1 else "127.0.0.1"
        return [(0, 0, 0, "", (address, port))]

    monkeypatch.setattr(anyio, "getaddrinfo", first_public_then_here)
    with pytest.raises(ToolFailed, match="no public address"):
        await fetcher().fetch("http://rebinding.example/", anything)
    assert asked == ["rebinding.example"]


async def test_the_name_of_the_host_is_kept_for_tls_and_for_the_server(monkeypatch, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pinned.example").configure_cert(context)
    heads, names = [], []
    context.sni_callback = lambda _, name, __: names.append(name)

    async def serve(reader, writer):
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    import asyncio

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]

    async def checked(host, port):
        return ["127.0.0.1"]

    monkeypatch.setattr(_fetch, "public_addresses", checked)
    monkeypatch.setattr(_fetch, "PORTS", (port,))
    own = fetcher(ca_file=tmp_path / "ca.pem")
    async with server:
        page = await own.fetch(f"https://pinned.example:{port}/x?y=1", anything)
        with pytest.raises(ToolFailed, match="cannot prove its identity"):
            await own.fetch(f"https://other.example:{port}/", anything)
    assert page.text == "hi"
    assert names[0] == "pinned.example"
    assert heads[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nhost: pinned.example:")


async def test_no_connection_stays_open_after_a_page():
    from plugway_http.client import open_connections

    before = open_connections()
    await fetched(respond(200, PAGE, HTML))
    await refused(respond(200, b"x" * 2_000, PLAIN), max_bytes=1_000)
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    assert open_connections() == before


def test_a_url_is_sent_in_ascii():
    place = place_of("https://münchen.example/straße?q=ü")
    assert place.url == "https://xn--mnchen-3ya.example/stra%C3%9Fe?q=%C3%BC"


@pytest.mark.parametrize("entry", ["http://a.example", "a.example/x", "u@a.example", "a b"])
def test_an_allowed_host_is_a_host(entry):
    with pytest.raises(ValueError, match="is not a host"):
        FetchOptions(from_zones=("local",), allow_hosts=(entry,))


def test_fetching_needs_the_zones_that_may():
    with pytest.raises(ValueError, match="from_zones"):
        FetchOptions()
