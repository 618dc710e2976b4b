"""The parser of request heads, held against llhttp: what it takes, that reads in the same way."""

import httptools
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plugway._framing import WireError, WireLimits
from plugway._head import parse_head

LIMITS = WireLimits()
PIECES = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"DELETE",
        b"get",
        b" ",
        b"  ",
        b"\t",
        b"/",
        b"/v1/messages?beta=true",
        b"/a%20b",
        b"/a#b",
        b"*",
        b"http://x/",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b":",
        b"Host: a",
        b"Host:a",
        b"X-A: b",
        b"X-A : b",
        b"X-Caf\xe9: b",
        b"X-A: caf\xe9",
        b"X-A:",
        b"X-A: b \t",
        b"\tfolded",
        b"Content-Length: 5",
        b"Content-Length: 05",
        b"Content-Length: 5, 5",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Connection: close",
        b"Connection: keep-alive, Close",
        b"Expect: 100-continue",
        b"\x7f",
        b"(",
        b"\xff",
    ]
)
LINE = st.sampled_from(
    [
        b"Host: a",
        b"X-A: b",
        b"x-a:  c d\t",
        b"X_b!#$%&'*+.^`|~: \xe9\x80",
        b"Accept:",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Transfer-Encoding: Chunked",
        b"Expect: 100-Continue",
    ]
)


class Read:
    """What llhttp reads."""

    def __init__(self, data):
        self.url, self.lines, self.whole = b"", [], False
        parser = self.parser = httptools.HttpRequestParser(self)
        parser.feed_data(data)
        self.method = parser.get_method().decode()
        self.version = parser.get_http_version()

    def on_url(self, url):
        self.url += url

    def on_header(self, name, value):
        self.lines.append((name.lower(), value))

    def on_headers_complete(self):
        self.whole = True
        self.keep_alive = self.parser.should_keep_alive()


def assert_read_alike(data):
    try:
        head = parse_head(data, LIMITS)
    except WireError:
        return
    read = Read(data)
    assert read.whole
    assert (head.method, head.version) == (read.method, read.version)
    assert head.path + (b"?" + head.query if head.query or b"?" in read.url else b"") == read.url
    assert head.lines == [(name, value.rstrip(b" \t")) for name, value in read.lines]
    if head.version == "1.1":
        assert head.keep_alive == read.keep_alive


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map(b"".join))
@example(b"GET / HTTP/1.1\r\nHost: a\r\n")
def test_what_is_taken_of_any_bytes_is_what_another_parser_reads(data):
    assert_read_alike(data + b"\r\n\r\n")


@settings(max_examples=300, deadline=None)
@given(st.lists(LINE, max_size=6), st.integers(0, 200), st.binary(max_size=2))
def test_one_byte_more_or_less_never_makes_two_readings(lines, at, junk):
    data = b"\r\n".join([b"POST /v1/messages?a=b HTTP/1.1", b"Host: h", *lines]) + b"\r\n\r\n"
    at = min(at, len(data) - 4)
    changed = data[:at] + junk + data[at:]
    assert_read_alike(changed[: changed.index(b"\r\n\r\n") + 4])


def test_a_plain_head_is_read_in_full():
    head = parse_head(
        b"POST /v1/messages?beta=true HTTP/1.1\r\nHOST: h:1\r\nX-Two:  words here \t\r\nEmpty:\r\n"
        b"content-LENGTH: 12\r\nconnection: Keep-Alive\r\nExpect: 100-continue\r\n\r\n",
        LIMITS,
    )
    assert head.method == "POST"
    assert (head.path, head.query, head.version) == (b"/v1/messages", b"beta=true", "1.1")
    assert head.lines[:3] == [(b"host", b"h:1"), (b"x-two", b"words here"), (b"empty", b"")]
    assert (head.length, head.keep_alive, head.expects) == (12, True, True)
