"""`count_tokens` of a server that fails: an estimate, unless the error says something."""

import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

BODY = {
    "model": "up/m",
    "messages": [{"role": "user", "content": "some words of a prompt, " * 200}],
}
PATH = "/v1/messages/count_tokens"


class Receipts(Plugin[NoOptions]):
    """Keeps the lines of the last receipt."""

    def __init__(self):
        super().__init__(NoOptions(), name="receipts")
        self.lines = []

    @hookimpl
    async def finished(self, exchange, outcome):
        self.lines = [entry.what for entry in exchange.receipt]


async def counted(url, **options):
    """The answer, and the lines of its receipt."""
    receipts = Receipts()
    plugins = [
        build_plugin(ErrorNormalizer, "error-normalizer"),
        build_plugin(ContextGuard, "guard", **options),
        receipts,
        build_plugin(AnthropicCompatible, "up", base_url=url, models=["m"]),
    ]
    async with gateway(plugins) as running:
        return await running.post(BODY, PATH), receipts.lines


def failing(status, kind="api_error", message="it broke", headers=()):
    """A server that answers so when it is asked for a count."""
    error = {"type": "error", "error": {"type": kind, "message": message}}

    def answer(request):
        return respond(status if "count" in request.path else 404, error, headers)

    return answer


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_a_server_that_fails_to_count_is_counted_for(status):
    async with ScriptedUpstream(otherwise=failing(status)) as up:
        answer, lines = await counted(up.url)
    assert answer.status_code == 200, answer.text
    assert 800 < answer.json()["input_tokens"] < 1300
    (line,) = [line for line in lines if line.startswith("estimated")]
    assert "`up/m` failed to count (status 5" in line


async def test_a_server_that_cannot_be_reached_is_counted_for():
    async with ScriptedUpstream() as up:
        url = up.url
    answer, lines = await counted(url)
    assert answer.status_code == 200, answer.text
    assert answer.json()["input_tokens"] > 800
    assert any("failed to count" in line for line in lines)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
    ],
)
async def test_an_error_about_the_request_the_key_or_the_quota_reaches_the_client(status, kind):
    headers = (("retry-after", "7"),) if status == 429 else ()
    script = failing(status, kind, "that is how it is", headers)
    async with ScriptedUpstream(otherwise=script) as up:
        answer, lines = await counted(up.url)
    assert 400 <= answer.status_code < 500
    assert answer.json()["type"] == "error"
    assert not any(line.startswith("estimated") for line in lines)


async def test_a_server_that_counts_by_itself_keeps_its_errors():
    """In a skipped zone nothing is estimated."""
    async with ScriptedUpstream(otherwise=failing(500)) as up:
        answer, _ = await counted(up.url, skip_zones=["local"])
    assert answer.status_code >= 500
    assert "it broke" in answer.json()["error"]["message"]
