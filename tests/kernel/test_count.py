"""`count_tokens` on its way out: plugins see the answer, and may give one where there is none."""

import pytest

from plugway import Plugin, Reply, hookimpl
from plugway.testing import PlainBackend, build_plugin, gateway, request_body

pytestmark = pytest.mark.anyio

COUNT = "/v1/messages/count_tokens"


class Estimator(Plugin):
    """Answers with 7 where the backend cannot count."""

    @hookimpl
    def transform_response(self, reply, exchange):
        if exchange.endpoint == "count_tokens" and exchange.receipt[-1].stage == "count":
            return Reply.message({"input_tokens": 7})
        return None


async def cannot(request, attempt):
    return None


@pytest.fixture
def backend():
    return build_plugin(PlainBackend, "plain")


async def test_a_backend_that_cannot_count_is_told_as_404(backend):
    backend.count = cannot
    async with gateway([backend]) as running:
        response = await running.post(request_body(), COUNT)
    assert response.status_code == 404
    assert response.headers["x-should-retry"] == "false"
    assert "`plain/test-model` cannot count tokens" in response.json()["error"]["message"]


async def test_a_plugin_may_estimate_where_the_backend_cannot_count(backend):
    backend.count = cannot
    async with gateway([build_plugin(Estimator, "estimator"), backend]) as running:
        response = await running.post(request_body(), COUNT)
    assert response.json() == {"input_tokens": 7}


async def test_a_count_of_the_backend_stays(backend):
    async with gateway([build_plugin(Estimator, "estimator"), backend]) as running:
        response = await running.post(request_body(), COUNT)
    assert response.json() == {"input_tokens": 1}
