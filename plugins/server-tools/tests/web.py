"""Search services and pages on loopback, which refuse what the real ones refuse."""

from urllib.parse import parse_qs, urlsplit

from plugway.testing import respond

PAGES = [
    {
        "url": "https://www.yr.no/en/oslo",
        "title": "Weather in Oslo",
        "content": "Sunny, 21 degrees, a light breeze from the fjord all afternoon.",
        "publishedDate": "2026-11-29T00:00:00",
        "engine": "duckduckgo",
    },
    {
        "url": "https://met.example/norway",
        "title": "Forecast for Norway",
        "content": "Rain in Bergen, sun in Oslo.",
        "publishedDate": None,
        "engine": "brave",
    },
]


class SearXNG:
    """The JSON API of a SearXNG server: `webapp.py` of its repository, and its documentation."""

    def __init__(self, pages=PAGES, formats=("html", "json")):
        self.pages, self.formats = pages, formats
        self.asked = []

    def __call__(self, request):
        parts = urlsplit(request.path)
        fields = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path != "/search":
            return respond(404, b"not found")
        if fields.get("format", "html") not in self.formats:
            return respond(403, b"<h1>Forbidden</h1>", {"content-type": "text/html"})
        if not fields.get("q"):
            return respond(400, {"error": "No query"})
        self.asked.append(fields["q"])
        return respond(
            200,
            {
                "query": fields["q"],
                "number_of_results": 0,
                "results": self.pages,
                "answers": [],
                "corrections": [],
                "infoboxes": [],
                "suggestions": [],
                "unresponsive_engines": [],
            },
        )


class Brave:
    """Brave's Web Search API."""

    def __init__(self, pages=PAGES, key="secret-key"):
        self.pages, self.key = pages, key
        self.asked = []

    def __call__(self, request):
        parts = urlsplit(request.path)
        fields = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if request.header("x-subscription-token") != self.key:
            error = {"code": "SUBSCRIPTION_TOKEN_INVALID", "detail": request.header("host")}
            return respond(422, {"type": "ErrorResponse", "error": error})
        known = {"q", "count", "text_decorations"}
        fits = parts.path == "/res/v1/web/search" and request.method == "GET"
        if not fits or not fields.keys() <= known or not 1 <= int(fields["count"]) <= 20:
            return respond(422, {"type": "ErrorResponse"})
        self.asked.append(fields["q"])
        results = [
            {
                "type": "search_result",
                "url": page["url"],
                "title": f"<strong>{page['title']}</strong>",
                "description": page["content"].replace("'", "&#x27;"),
                "page_age": page["publishedDate"],
            }
            for page in self.pages
        ]
        web = {"type": "search", "results": results[: int(fields["count"])]}
        return respond(200, {"type": "search", "query": {"original": fields["q"]}, "web": web})


class Posted:
    """Tavily and Exa: a POST of JSON with a key in a header."""

    def __init__(self, fields, header, value, row):
        self._fields, self._header, self._value, self._row = fields, header, value, row
        self.asked = []

    def __call__(self, request):
        if request.header(self._header) != self._value:
            return respond(401, {"detail": {"error": f"wrong: {request.header(self._header)}"}})
        if request.method != "POST" or request.path != "/search":
            return respond(404, {"error": "not here"})
        if not request.json.keys() <= self._fields or "query" not in request.json:
            return respond(400, {"detail": {"error": "unknown field"}})
        self.asked.append(request.json)
        return respond(200, {"results": [self._row(page) for page in PAGES]})


def tavily(key="secret-key"):
    fields = {"query", "max_results", "include_domains", "exclude_domains"}
    return Posted(
        fields,
        "authorization",
        f"Bearer {key}",
        lambda page: {
            "url": page["url"],
            "title": page["title"],
            "content": page["content"],
            "score": 0.9,
            "raw_content": None,
        },
    )


def exa(key="secret-key"):
    fields = {"query", "numResults", "includeDomains", "excludeDomains", "contents"}
    return Posted(
        fields,
        "x-api-key",
        key,
        lambda page: {
            "id": page["url"],
            "url": page["url"],
            "title": page["title"],
            "publishedDate": page["publishedDate"],
            "author": None,
            "highlights": [page["content"]],
            "highlightScores": [0.4],
        },
    )
