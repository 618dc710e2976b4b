"""Which lines go to a server, and how its own are read."""

from email.utils import formatdate
from time import time

import pytest

from plugway_anthropic_wire import key_lines, open_headers, plain_headers, retry_after

CLIENT = (
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "new-thing-2030-01-01,other"),
    ("anthropic-dangerous-direct-browser-access", "true"),
    ("user-agent", "claude-cli/2.1"),
    ("x-stainless-lang", "js"),
    ("x-app", "cli"),
    ("x-claude-code-session-id", "s"),
    ("x-never-heard-of", "1"),
    ("content-type", "application/json"),
    ("accept", "application/json"),
    ("sec-fetch-mode", "cors"),
)
NEVER = (
    ("authorization", "Bearer canary"),
    ("x-api-key", "canary"),
    ("api-key", "canary"),
    ("x-goog-api-key", "canary"),
    ("cookie", "canary"),
    ("proxy-authorization", "canary"),
    ("plugway-token", "canary"),
    ("plugway-anything", "canary"),
    ("host", "canary"),
    ("connection", "canary"),
    ("keep-alive", "canary"),
    ("te", "canary"),
    ("transfer-encoding", "canary"),
    ("upgrade", "canary"),
    ("expect", "canary"),
    ("content-length", "1"),
    ("accept-encoding", "gzip"),
    ("x-forwarded-for", "canary"),
    ("x-real-ip", "canary"),
    ("forwarded", "canary"),
)
STEERING = (("x-portkey-custom-host", "http://evil"), ("api_base", "x"), ("provider", "x"))


def test_anthropic_gets_every_line_that_is_not_of_the_connection_or_a_credential():
    assert open_headers((*NEVER, *CLIENT)) == CLIENT


def test_others_get_what_the_protocol_needs_and_nothing_about_the_client():
    found = plain_headers((*NEVER, *CLIENT, *STEERING))
    assert found == (
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "new-thing-2030-01-01,other"),
        ("anthropic-dangerous-direct-browser-access", "true"),
        ("x-claude-code-session-id", "s"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("user-agent", "plugway"),
    )


def test_a_key_travels_in_the_line_that_is_asked_for():
    assert key_lines("x-api-key", "k") == {"x-api-key": "k"}
    assert key_lines("authorization", "k") == {"authorization": "Bearer k"}
    assert key_lines("authorization", None) == {}


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ({}, None),
        ({"retry-after": "20"}, 20),
        ({"retry-after": "0"}, 0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Sun, 99 Foo 2099"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
    ],
)
def test_the_wait_is_read_in_every_form(lines, seconds):
    assert retry_after(tuple(lines.items())) == seconds


def test_a_date_is_a_wait():
    found = retry_after((("retry-after", formatdate(time() + 30, usegmt=True)),))
    assert 28 < found <= 30
