"""The real Claude Code with a shorter timeout than its model needs to read the prompt (pain 18)."""

import anyio
import pytest

from plugway.testing import ScriptedUpstream, WaitFor, anthropic_stream, gateway, respond, sse
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_pain_18_a_client_that_gives_up_and_asks_again_gets_the_answer_of_its_first_request(
    tmp_path, caplog
):
    caplog.set_level("INFO")
    go = anyio.Event()

    def says(request):
        if request.path.partition("?")[0] != "/v1/messages":
            return respond(404)
        return [WaitFor(go), *sse(anthropic_stream("Read at last."))]

    async def answer_the_third_time():
        while caplog.text.count("joined the reply") < 2:
            await anyio.sleep(0.01)
        go.set()

    async with (
        ScriptedUpstream(otherwise=says) as upstream,
        gateway(shipped(upstream.url)) as running,
        anyio.create_task_group() as group,
    ):
        group.start_soon(answer_the_third_time)
        claude = Claude(tmp_path, running.url, running.token, "claude-sonnet-4-5")
        claude._env["API_TIMEOUT_MS"] = "1500"
        answer = await claude.run("-p", "hi")
        group.cancel_scope.cancel()
    assert "Read at last." in answer.out
    asked = [r for r in upstream.requests if r.path.startswith("/v1/messages")]
    assert len(asked) == 1
