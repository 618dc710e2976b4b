"""Which addresses may be an upstream's."""

import pytest

from plugway import url_problem


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.com",
        "https://api.example.com:8443/anthropic",
        "http://127.0.0.1:8080",
        "http://[::1]:8080",
        "http://localhost:1234",
        "http://127.1:80",
    ],
)
def test_safe_addresses_are_allowed_with_a_key(url):
    assert url_problem(url, with_key=True) == ""


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://192.168.1.5:8000", "clear text"),
        ("http://api.example.com", "clear text"),
        ("http://127.0.0.1.example.com", "clear text"),
        ("http://localhost.example.com", "clear text"),
        ("https://user:pw@example.com", "password"),
        ("https://@example.com", "password"),
        ("https://user@example.com", "password"),
        ("http://169.254.169.254/", "metadata"),
        ("http://[::ffff:169.254.169.254]/", "metadata"),
        ("http://2852039166", "metadata"),
        ("http://0xa9fea9fe", "metadata"),
        ("http://0251.0376.0251.0376", "metadata"),
        ("http://[fd00:ec2::254]", "metadata"),
        ("http://[fe80::1]", "metadata"),
        ("http://100.100.100.200", "metadata"),
        ("http://metadata.google.internal", "metadata"),
        ("http://metadata.google.internal.", "metadata"),
        ("http://METADATA.google.internal", "metadata"),
        ("file:///etc/passwd", "http"),
        ("unix:/run/x.sock", "http"),
        ("ftp://example.com", "http"),
        ("//example.com", "http"),
        ("example.com", "http"),
        ("", "http"),
        ("https://", "http"),
        ("https://example.com?x=1", "query"),
        ("https://example.com#x", "query"),
        ("https://example.com?", "query"),
        ("https://exa mple.com", "ASCII"),
        ("https://exa\nmple.com", "ASCII"),
        ("https://example.com\\@evil.com", "ASCII"),
        ("https://exämple.com", "ASCII"),
        ("https://example.com:99999", "not a URL"),
        ("https://[::1", "not a URL"),
    ],
)
def test_unsafe_addresses_are_refused(url, reason):
    assert reason in url_problem(url, with_key=True)


def test_clear_text_to_another_machine_is_allowed_without_a_key():
    assert url_problem("http://192.168.1.5:8000", with_key=False) == ""
