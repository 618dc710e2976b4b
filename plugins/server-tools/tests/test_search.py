"""Each provider, asked over a real socket; and what comes of hostile results."""

import json
from contextlib import asynccontextmanager

import anyio
import pytest
from pydantic import ValidationError

from plugway import Exchange, MessagesRequest
from plugway.testing import ScriptedUpstream, Sleep, respond
from plugway_server_tools._domains import Domains
from plugway_server_tools._options import SearchOptions
from plugway_server_tools._providers import Query, found_in
from plugway_server_tools._search import Search, ToolFailed
from plugway_tools import ToolResult, ToolSpec

from .web import PAGES, Brave, SearXNG, exa, tavily

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

KEY = "secret-key"
PROVIDERS = {"searxng": SearXNG, "brave": Brave, "tavily": tavily, "exa": exa}
ANY = Domains()


def query(text="oslo", domains=ANY, results=8):
    return Query(text, domains, results)


def exchange():
    return Exchange(MessagesRequest(b'{"model": "m"}'))


@asynccontextmanager
async def searching(provider, server, **options):
    key = {} if provider == "searxng" else {"api_key": KEY}
    async with ScriptedUpstream(otherwise=server) as upstream:
        made = SearchOptions(provider=provider, url=upstream.url, **{**key, **options})
        async with Search(made) as search:
            yield search


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_search_returns_the_links_of_the_provider(provider):
    server = PROVIDERS[provider]()
    async with searching(provider, server) as search:
        found = await search.run(query("what's up in oslo?"), exchange())
    assert [one.url for one in found] == [page["url"] for page in PAGES]
    assert [one.title for one in found] == ["Weather in Oslo", "Forecast for Norway"]
    assert found[0].text == PAGES[0]["content"]
    assert "what's up in oslo?" in json.dumps(server.asked)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_domains_that_the_tool_names_are_kept_to_whatever_the_provider_returns(provider):
    async with searching(provider, PROVIDERS[provider]()) as search:
        only = await search.run(query(domains=Domains(allowed=("yr.no",))), exchange())
        without = await search.run(query(domains=Domains(blocked=("yr.no",))), exchange())
    assert [one.url for one in only] == ["https://www.yr.no/en/oslo"]
    assert [one.url for one in without] == ["https://met.example/norway"]


async def test_a_searxng_server_without_json_is_reported_with_the_setting():
    async with searching("searxng", SearXNG(formats=("html",))) as search:
        with pytest.raises(
            ToolFailed, match=r"status 403: add `json` to `search.formats`"
        ) as found:
            await search.run(query(), exchange())
    assert found.value.code == "unavailable"


@pytest.mark.parametrize("provider", ["brave", "tavily", "exa"])
async def test_a_wrong_key_is_reported_without_it(provider):
    async with searching(provider, PROVIDERS[provider](), api_key="wrong-key-12345") as search:
        with pytest.raises(ToolFailed, match="check `api_key`") as found:
            await search.run(query(), exchange())
    assert "wrong-key-12345" not in str(found.value)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (respond(429, {"error": "slow down"}), "too_many_requests"),
        (respond(500, b"oops"), "unavailable"),
        (respond(200, b"<html>not json"), "unavailable"),
        (respond(200, {"results": "none"}), "unavailable"),
        (respond(200, b"[" * 100_000), "unavailable"),
        (respond(302, b"", {"location": "http://169.254.169.254/latest"}), "unavailable"),
        (respond(200, b"x" * (9 * 2**20)), "unavailable"),
        ([Sleep(20.0)], "unavailable"),
    ],
    ids=["limited", "broken", "not JSON", "no list", "deep", "redirect", "huge", "silent"],
)
async def test_a_provider_that_fails_is_an_error_of_the_call(answer, code):
    async with searching("searxng", lambda _: answer, seconds=0.3) as search:
        with pytest.raises(ToolFailed) as found:
            await search.run(query(), exchange())
    assert found.value.code == code
    assert "searxng" in found.value.reason


async def test_a_query_that_is_too_long_is_not_sent():
    server = SearXNG()
    async with searching("searxng", server) as search:
        with pytest.raises(ToolFailed) as found:
            await search.run(query("x" * 1_001), exchange())
    assert found.value.code == "query_too_long"
    assert server.asked == []


def test_hostile_results_are_bounded_plain_links():
    rows = [
        {"url": "javascript:alert(1)", "title": "no"},
        {"url": "file:///etc/passwd", "title": "no"},
        {"url": "https://user:pass@a.example/", "title": "no"},
        {"url": "https://a.example/\x1b[31m", "title": "no"},
        {"url": 'https://a.example/"onclick=', "title": "no"},
        {"url": "https://a.example/" + "x" * 3_000, "title": "no"},
        {"url": 5, "title": "no"},
        {"title": "no"},
        "no",
        None,
        {
            "url": "https://b.example/1",
            "title": "<b>T</b>\x1b[2J\u202e" + "t" * 10_000,
            "content": "<script>alert(1)</script> & \x00 \u200b" + "c" * 10_000_000,
            "publishedDate": "x" * 1_000,
        },
        {"url": "https://b.example/1", "title": "the same again"},
    ]
    found = found_in({"results": rows * 10}, query())
    assert [one.url for one in found] == ["https://b.example/1"]
    (one,) = found
    assert len(one.title) < 3_000
    assert len(one.text) < 20_000
    assert len(one.age) == 40
    for text in (one.title, one.text):
        assert not any(character in text for character in "\x1b\u202e\x00\u200b")
        assert "<b>" not in text
        assert "<script>" not in text


def test_of_ten_thousand_results_only_the_first_are_read():
    rows = [{"url": f"https://a.example/{n}", "title": str(n)} for n in range(10_000)]
    assert len(found_in(rows, query(results=20))) == 20
    none = Domains(allowed=("b.example",))
    rows[5_000]["url"] = "https://b.example/"
    assert found_in(rows, query(domains=none)) == []


@pytest.mark.parametrize(
    ("entry", "url", "admitted"),
    [
        ("example.com", "https://example.com/a", True),
        ("example.com", "https://docs.example.com/a", True),
        ("example.com", "https://badexample.com/a", False),
        ("example.com", "https://example.com.evil.test/", False),
        ("example.com", "https://evil.test/example.com", False),
        ("docs.example.com", "https://example.com/", False),
        ("example.com/blog", "https://example.com/blog/1", True),
        ("example.com/blog/*", "https://example.com/blog/1", True),
        ("example.com/blog", "https://example.com/blogger", False),
        ("https://Example.com/", "https://example.com/", True),
        ("*.example.com", "https://a.example.com/", True),
        ("example.com", "https://example.com@evil.test/", False),
        ("example.com", "https://EXAMPLE.com./", True),
        ("bücher.example", "https://xn--bcher-kva.example/", True),
        ("example.com:8443", "https://example.com:8443/", True),
        ("example.com/blog/*", "https://example.com/blog/", True),
        ("example.com/*/news", "https://example.com/de/news/1", True),
        ("example.com/*/news", "https://example.com/de/shop", False),
        ("example.com/blog", "https://example.com/%62log/1", True),
        ("example.com/blog", "https://example.com//x/../blog/1", True),
        ("example.com/blog", "https://example.com/blog/../shop", False),
    ],
)
def test_a_domain_covers_itself_its_subdomains_and_its_folder(entry, url, admitted):
    assert Domains.of({"allowed_domains": [entry]}).admit(url) is admitted
    assert Domains.of({"blocked_domains": [entry]}).admit(url) is not admitted


@pytest.mark.parametrize("wrong", ["example.com", [7], [""], {"example.com": True}, True])
def test_what_is_no_list_of_domains_allows_nothing(wrong):
    assert not Domains.of({"allowed_domains": wrong}).admit("https://example.com/")


@pytest.mark.parametrize("none", [[], None])
def test_an_empty_list_of_domains_allows_all(none):
    assert Domains.of({"allowed_domains": none}).admit("https://example.com/")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://de.wiki.example/wiki/Köln", "https://de.wiki.example/wiki/K%C3%B6ln"),
        ("https://bücher.example/?q=ü#ß", "https://xn--bcher-kva.example/?q=%C3%BC#%C3%9F"),
        ("https://a.example/\u202efdp.exe", "https://a.example/%E2%80%AEfdp.exe"),
        ("https://a.example／@evil.test/", ""),
        ("https://ü@evil.test/", ""),
        ("https://" + "ü" * 70 + "/", ""),
    ],
)
def test_a_link_with_other_letters_is_shown_as_it_is_sent(url, shown):
    found = found_in([{"url": url, "title": "T"}], query())
    assert [one.url for one in found] == [shown] * bool(shown)


def test_a_number_without_end_in_a_result_does_no_harm():
    rows = [{"url": "https://a.example/", "title": "A", "content": f"one &#{'1' * 5_000}; two"}]
    assert found_in(rows, query())[0].text.startswith("one ")


# ── a mounted tool ───────────────────────────────────────────────────────────────────────────────


class Mounted:
    """A plugin with one search tool."""

    def __init__(self, result, argument="query", effect="read"):
        self.result, self.asked = result, []
        schema = {"type": "object", "properties": {argument: {"type": "string"}}}
        self._spec = ToolSpec("web_find", "Searches.", schema, effect)

    async def tools(self):
        return [self._spec]

    async def run_tool(self, call):
        self.asked.append(dict(call.arguments))
        return self.result


class Holders:
    def __init__(self, *holders):
        self._holders = holders

    def find(self, kind):
        return [("mcp", holder) for holder in self._holders if isinstance(holder, kind)]


TEXT = """Found 2 results:
1. [Weather in Oslo](https://www.yr.no/en/oslo) Sunny, 21 degrees.
2. [Forecast](https://met.example/norway): rain"""
RESULTS = {
    "data": ToolResult((), structured={"results": PAGES}),
    "JSON": ToolResult.of(json.dumps(PAGES)),
    "links in text": ToolResult.of(TEXT),
    "URLs in text": ToolResult.of("see https://www.yr.no/en/oslo. And https://met.example/norway"),
}


@pytest.mark.parametrize("kind", RESULTS)
async def test_a_mounted_tool_is_asked_and_its_links_are_found(kind):
    mounted = Mounted(RESULTS[kind], "q")
    search = Search(SearchOptions(provider="tool", tool="web_find"))
    search.find_tool_in(Holders(mounted))
    found = await search.run(query(), exchange())
    assert [one.url for one in found] == [page["url"] for page in PAGES]
    assert mounted.asked == [{"q": "oslo"}]


class Broken(Mounted):
    """Its result is an exception, or nothing at all."""

    async def run_tool(self, call):
        if self.result is None:
            await anyio.sleep_forever()
        raise self.result


@pytest.mark.parametrize("result", [ValueError("oslo"), None], ids=["raises", "hangs"])
async def test_a_mounted_tool_that_breaks_its_contract_is_an_error_of_the_call(result):
    search = Search(SearchOptions(provider="tool", tool="web_find", seconds=0.01))
    search.find_tool_in(Holders(Broken(result)))
    with pytest.raises(ToolFailed, match="The tool `web_find`") as found:
        await search.run(query(), exchange())
    assert found.value.code == "unavailable"
    assert "oslo" not in found.value.reason


@pytest.mark.parametrize(
    "holders", [(), (Mounted(ToolResult.of("key: hunter2", is_error=True)),)], ids=["gone", "fails"]
)
async def test_a_mounted_tool_that_is_gone_or_fails_is_an_error_of_the_call(holders):
    search = Search(SearchOptions(provider="tool", tool="web_find"))
    search.find_tool_in(Holders(*holders))
    with pytest.raises(ToolFailed, match="`web_find`") as found:
        await search.run(query(), exchange())
    assert found.value.code == "unavailable"
    assert "hunter2" not in found.value.reason


async def test_a_mounted_tool_that_may_do_more_than_read_does_not_search():
    mounted = Mounted(RESULTS["data"], effect="run")
    search = Search(SearchOptions(provider="tool", tool="web_find"))
    search.find_tool_in(Holders(mounted))
    with pytest.raises(ToolFailed, match="may write or run"):
        await search.run(query(), exchange())
    assert mounted.asked == []


# ── options ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"provider": "brave"}, "`brave` needs an `api_key`"),
        ({"provider": "searxng"}, "needs the URL of the server"),
        ({"provider": "tool"}, "belong together"),
        ({"provider": "searxng", "url": "http://a.example", "tool": "x"}, "belong together"),
        ({"provider": "searxng", "url": "ftp://a.example"}, "http"),
        ({"provider": "searxng", "url": "http://a.example", "api_key": "k"}, "clear text"),
        ({"provider": "searxng", "url": "http://u:p@a.example"}, "user or password"),
    ],
)
def test_options_that_cannot_work_are_refused_with_the_reason(options, reason):
    with pytest.raises(ValidationError, match=reason):
        SearchOptions(**options)


@pytest.mark.parametrize(
    ("options", "zone", "serves"),
    [
        ({"provider": "searxng", "url": "http://127.0.0.1:8888"}, "local", True),
        ({"provider": "searxng", "url": "http://127.0.0.1:8888"}, "vendor", True),
        ({"provider": "searxng", "url": "http://127.0.0.1:8888", "zone": "x"}, "local", False),
        ({"provider": "searxng", "url": "https://searx.example"}, "local", False),
        ({"provider": "brave", "api_key": "k"}, "local", False),
        ({"provider": "brave", "api_key": "k"}, "brave", True),
        ({"provider": "brave", "api_key": "k", "from_zones": ["local"]}, "local", True),
        ({"provider": "brave", "api_key": "k", "from_zones": ["local"]}, "vendor", False),
        ({"provider": "brave", "api_key": "k", "from_zones": ["*"]}, "vendor", True),
        ({"provider": "tool", "tool": "web_find"}, "local", False),
        ({"provider": "tool", "tool": "web_find", "zone": "local"}, "local", True),
    ],
)
def test_a_query_leaves_the_zone_of_its_conversation_only_with_consent(options, zone, serves):
    assert SearchOptions(**options).serves(zone) is serves
