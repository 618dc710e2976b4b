"""The address that clients are given follows from how they reached the gateway."""

import pytest
from starlette.requests import Request

from plugway_sign_in._addresses import base_url


@pytest.mark.parametrize(
    ("scheme", "host", "public", "url"),
    [
        ("http", "localhost:8484", "", "http://localhost:8484"),
        ("https", "localhost:8484", "", "https://localhost:8484"),
        ("https", "[::1]:8484", "", "https://[::1]:8484"),
        ("http", "llm.example.com", "", "https://llm.example.com"),
        ("https", "LLM.example.com:8484", "", "https://llm.example.com:8484"),
        ("http", "localhost:8484", "https://llm.example.com", "https://llm.example.com"),
    ],
)
def test_the_scheme_is_that_of_the_connection_or_of_the_proxy(scheme, host, public, url):
    headers = [(b"host", host.encode())]
    scope = {"type": "http", "scheme": scheme, "path": "/", "headers": headers, "server": None}
    assert base_url(Request(scope), public) == url
