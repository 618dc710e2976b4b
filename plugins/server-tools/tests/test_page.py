"""HTML as text, also where it is meant to take long."""

import pytest

from plugway_server_tools import _sources
from plugway_server_tools._citations import Source, _cited, citations_in
from plugway_server_tools._fetch import place_of
from plugway_server_tools._page import readable
from plugway_server_tools._sources import Seen

BASE = "https://a.example/docs/"


def text(source):
    return readable(source, BASE).text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<h2>A</h2><p>b<br>c</p>", "## A\n\nb\nc"),
        ("<ul><li>a<li>b</ul>", "- a\n- b"),
        ("a<a href='x'>b</a>", "a[b](https://a.example/docs/x)"),
        ('<a href="/x?a=1&amp;b=2">b</a>', "[b](https://a.example/x?a=1&b=2)"),
        ("<a href='javascript:alert(1)'>b</a><a href='#c'>d</a>", "bd"),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "| a | b\n | c"),
        ("<pre>if a:\n    b</pre>", "if a:\n    b"),
        ("<script>if (a<b) x()</script>a<style>b{}</style>", "a"),
        ("<nav>menu<nav>more</nav></nav>a<footer>b</footer>", "a"),
        ("<!-- <p>no</p> -->a<!doctype x><?y?>b", "ab"),
        ("a < b &lt; c &amp; d", "a < b < c & d"),
        ("<p title='a>b'>c</p>", "c"),
        ("<p title=a'b>c</p>", "c"),
        ("<SCRIPT>no</ScRiPt >yes", "yes"),
        ("<p", ""),
        ("<!--", ""),
        ("", ""),
    ],
)
def test_html_becomes_plain_text(source, expected):
    assert text(source) == expected.replace("\n |", "\n|")


def test_the_main_part_of_a_page_stands_for_the_whole():
    main = "word " * 50
    assert text(f"<div>around</div><main>{main}</main><div>more</div>") == main.strip()
    assert text("<div>around</div><main>short</main>") == "around\n\nshort"


def test_a_page_of_nothing_but_tags_is_read_in_part():
    assert text("a" + "<b>" * 300_000 + "b") == "a"


N = 6_000
HOSTILE = {
    "nested": "<div>" * N,
    "formatting": "<b>" * N + "<p>" * N,
    "attributes": "<a " + " ".join(f"b{i}=1" for i in range(N)) + ">",
    "quotes": "<a ='\"" * N,
    "comments": "<!--" * N,
    "brackets": "<" * N,
    "closes": "</" * N,
    "scripts": "<script></script " * N,
    "equals": "<a " + "= " * N,
    "spaces": "<pre>" + " \n" * N,
    "entities": "&#x" * N,
    "links": "<a href=x>" * N,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_page_costs_a_few_steps_for_each_character(kind, count_steps):
    short, long = (
        count_steps(readable, HOSTILE[kind][: len(HOSTILE[kind]) // part]) for part in (4, 1)
    )
    assert long <= 6 * short + 5_000


@pytest.fixture
def count_steps():
    """How many lines of Python a call runs: a measure that a busy machine does not change."""
    import sys

    def counted(call, source):
        steps = 0

        def trace(frame, event, _):
            nonlocal steps
            steps += 1
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            call(source, BASE)
        finally:
            sys.settrace(before)
        return steps

    return counted


def test_a_number_without_end_in_a_page_does_no_harm():
    page = readable(
        f"<title>&#{'1' * 900}</title><p>a &#{'1' * 9_000}; b</p>", "https://a.example/"
    )
    assert page.text.endswith(" b")


# ── URLs that may be fetched ─────────────────────────────────────────────────────────────────────

WRITTEN = "see https://a.example/x?y=1#z, (http://b.example/p). and example.com/foo! Or wiki.org"


def user(content):
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    ("url", "known"),
    [
        ("https://a.example/x?y=1", True),
        ("http://A.example/x?y=1#other", True),
        ("https://b.example/p", True),
        ("https://example.com/foo", True),
        ("https://wiki.org/", True),
        ("https://a.example/x?y=2", False),
        ("https://a.example/x?y=1&secret=2", False),
        ("https://wiki.org/secret", False),
        ("https://wiki.org////", False),  # their number could tell something
        ("https://a.example/x?y=1///", False),
        ("https://secret.wiki.org/", False),
        ("https://a.example.evil.test/x?y=1", False),
    ],
)
def test_only_a_url_of_the_conversation_may_be_fetched(url, known):
    assert Seen([user(WRITTEN)], {}).has(url) is known


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://münchen.example:8443/straße?q=ü/", "MÜNCHEN.example:8443/straße?q=ü"),
        ("https://a.example?x=1", "https://a.example/?x=1"),
        ("https://[2001:db8::1]/x", "http://[2001:db8::1]/x"),
        ("https://a.example/{x}|y%25", "(https://a.example/{x}|y%25)"),
    ],
)
def test_a_url_is_known_however_it_is_written(url, written):
    assert Seen([user(written)], {}).has(url)


def test_many_urls_of_one_host_cost_little(monkeypatch):
    read = []
    monkeypatch.setattr(_sources, "place_of", lambda url: read.append(url) or place_of(url))
    urls = " ".join(f"https://a.example/p/{number}" for number in range(2_000))
    assert not Seen([user(urls)], {}).has("https://a.example/p/other")
    assert len(read) == 1


def test_what_the_model_wrote_does_not_count():
    said = [
        user("hi"),
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "https://evil.test/?data=1"},
                {"type": "tool_use", "id": "t", "name": "x", "input": {"u": "https://evil.test/2"}},
            ],
        },
    ]
    seen = Seen(said, {})
    assert not seen.has("https://evil.test/?data=1")
    assert not seen.has("https://evil.test/2")


def called(kind, name, result):
    return [
        user("hi"),
        {"role": "assistant", "content": [{"type": kind, "id": "t", "name": name, "input": {}}]},
        user(
            [{"type": result, "tool_use_id": "t", "content": [{"type": "text", "text": WRITTEN}]}]
        ),
    ]


@pytest.mark.parametrize(
    ("rule", "known"),
    [
        ({}, True),
        ({"client_tool_results": {"type": "none"}}, False),
        ({"client_tool_results": {"type": "only", "tools": [{"name": "Read"}]}}, True),
        ({"client_tool_results": {"type": "only", "tools": [{"name": "Bash"}]}}, False),
        ({"client_tool_results": {"type": "except", "tools": [{"name": "Read"}]}}, False),
        ({"server_tool_results": {"type": "none"}}, True),
    ],
)
def test_the_tool_says_which_results_count(rule, known):
    messages = called("tool_use", "Read", "tool_result")
    seen = Seen(messages, {"url_sources": rule})
    assert seen.has("https://b.example/p") is known


def test_results_of_searches_count_unless_the_tool_says_otherwise():
    messages = called("server_tool_use", "web_search", "web_search_tool_result")
    assert Seen(messages, {}).has("https://b.example/p")
    none = {"url_sources": {"server_tool_results": {"type": "none"}}}
    assert not Seen(messages, none).has("https://b.example/p")
    assert not Seen([user(WRITTEN)], {"url_sources": {"user_input": {"type": "none"}}}).has(
        "https://b.example/p"
    )


def test_a_text_of_repeated_passages_is_searched_a_few_times_only():
    class Text(str):
        searched = 0

        def __contains__(self, part):
            Text.searched += 1
            return super().__contains__(part)

    start = "A sentence that begins like all the others "
    page = "".join(f"{start}{number}. " for number in range(1_000))
    found = _cited(Text(start), {start[:40]}, (), page)
    assert found == ""
    assert Text.searched <= 50


def test_a_quote_inside_open_quotation_marks_is_cited():
    said = "“““ He says “the page has these very words” today"
    source = Source("https://a.example/", "A", "x the page has these very words y")
    assert citations_in(said, [source])[0]["cited_text"] == "the page has these very words"
