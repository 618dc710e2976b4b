"""The login of the `codex` command: read, used, renewed by the command, never told to anybody."""

import json
import logging
import os
import shutil
from pathlib import Path

import anyio
import orjson
import pytest
from codex_parts import (
    DIE,
    HANG,
    MODELS,
    REFUSE,
    command_at,
    login,
    message,
    number_in,
    reasoning,
    response,
    streamed,
    token,
)
from pydantic import ValidationError

from plugway import BackendError, BackendRefused
from plugway.testing import ScriptedUpstream, build_plugin, gateway, respond
from plugway_codex import Codex
from plugway_codex import _command as command_module
from plugway_error_normalizer import ErrorNormalizer
from plugway_openai_api import OpenAIApi

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
ANSWER = response(reasoning("Hm."), message("Hello."))
ENDED = {"error": {"message": "Your authentication token has expired", "code": "token_expired"}}


@pytest.fixture
async def server():
    async with ScriptedUpstream(otherwise=streamed(ANSWER)) as found:
        yield found


@pytest.fixture
def home(tmp_path):
    return tmp_path / "codex"


def plugin(server, **options):
    return build_plugin(Codex, "mine", base_url=server.url, **options)


def stack(server, **options):
    return [build_plugin(ErrorNormalizer, "error-normalizer"), plugin(server, **options)]


def body(**fields):
    turns = [{"role": "user", "content": "x"}]
    return {"model": "gpt-5", "max_tokens": 99, "messages": turns, **fields}


def asked(home):
    """How often the command was started."""
    file = home / "asked"
    return len(file.read_text()) if file.exists() else 0


async def test_a_request_is_what_the_endpoint_takes_under_our_own_name(server, home):
    access = login(home)
    fields = {"temperature": 0.5, "metadata": {"user_id": "u"}, "service_tier": "auto"}
    async with gateway([plugin(server)]) as running:
        answered = await running.post(body(**fields))
        explained = (await running.post(body(**fields), "/v1/messages/explain")).json()
    (sent,) = server.requests
    would = explained["upstream_request"]
    assert would["url"] == f"{server.url}/responses"
    assert would["headers"].items() <= dict(sent.headers).items()
    assert (would["headers"]["originator"], would["body"]) == ("plugway", sent.json)
    assert answered.json()["content"][1] == {"type": "text", "text": "Hello."}
    assert sent.path == "/responses"
    assert sent.header("authorization") == f"Bearer {access}"
    assert sent.header("chatgpt-account-id") == "acct-1"
    assert (sent.header("originator"), sent.header("user-agent")) == ("plugway", "plugway")
    assert sent.header("accept") == "text/event-stream"
    assert (sent.json["stream"], sent.json["store"]) == (True, False)
    assert sent.json["instructions"]
    assert sent.json.keys() <= {
        "model",
        "store",
        "stream",
        "input",
        "include",
        "instructions",
        "prompt_cache_key",
    }


async def test_what_the_endpoint_does_not_take_is_on_the_receipt(server, home):
    login(home)
    async with gateway([plugin(server)]) as running:
        explained = await running.post(body(temperature=0.5), "/v1/messages/explain")
    told = " ".join(line["what"] for line in explained.json()["receipt"])
    for name in ("max_tokens", "temperature", "system"):
        assert name in told
    assert server.requests == []


async def test_what_a_client_of_openais_api_keeps_and_loses_is_on_the_receipt(server, home):
    login(home)
    fields = {"service_tier": "flex", "store": True, "verbosity": "low", "user": "u-1"}
    messages = [{"role": "user", "content": "x"}]
    wanted = {"model": "gpt-5", "max_tokens": 99, "messages": messages, **fields}
    async with gateway([build_plugin(OpenAIApi, "openai-api"), plugin(server)]) as running:
        explained = await running.post(wanted, "/v1/chat/completions/explain")
    sent = explained.json()["upstream_request"]["body"]
    assert sent["text"] == {"verbosity": "low"}
    assert sent["store"] is False
    lines = [line["what"] for line in explained.json()["receipt"]]
    for name in ("service_tier", "store", "user"):
        assert name not in sent or name == "store"
        assert any(line.startswith(f"drop {name}: the endpoint") for line in lines), lines
    assert not any("verbosity" in line for line in lines)


async def test_without_a_login_the_command_to_log_in_is_named(server, home):
    async with gateway(stack(server)) as running:
        answered = await running.post(body())
        told = answered.json()["error"]
        assert (answered.status_code, told["type"]) == (401, "authentication_error")
        assert answered.headers["x-should-retry"] == "false"
        assert "codex login" in told["message"]
        assert str(home / "auth.json") in told["message"]
        login(home)
        assert (await running.post(body())).status_code == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not a login file of `codex`"),
        (b"[]", "no ChatGPT login"),
        (b'{"tokens": {"access_token": 5}}', "no ChatGPT login"),
        (b'{"OPENAI_API_KEY": "sk-canary"}', "the plugin `openai`"),
    ],
)
async def test_a_file_that_holds_no_login_is_told(server, home, content, said):
    home.mkdir()
    (home / "auth.json").write_bytes(content)
    made = plugin(server)
    with pytest.raises(BackendRefused, match=said) as caught:
        await made.backend.login.current()
    assert "canary" not in str(caught.value)


async def test_a_login_that_ends_is_renewed_by_the_command_once_for_all(server, home, tmp_path):
    login(home, seconds=30)
    async with (
        gateway([plugin(server, command=command_at(tmp_path))]) as running,
        anyio.create_task_group() as group,
    ):
        for _ in range(5):
            group.start_soon(running.post, body())
    assert asked(home) == 1
    assert [number_in(r.header("authorization")) for r in server.requests] == [2] * 5


async def test_a_login_that_is_refused_is_renewed_and_the_request_sent_again(
    server, home, tmp_path
):
    login(home)
    server.script(respond(401, ENDED))
    async with gateway([plugin(server, command=command_at(tmp_path))]) as running:
        answered = await running.post(body())
    assert answered.status_code == 200
    assert [number_in(r.header("authorization")) for r in server.requests] == [1, 2]


async def test_a_login_that_somebody_else_has_renewed_is_simply_used(server, home, tmp_path):
    login(home)
    command = command_at(tmp_path)

    def late(request):
        login(home, 7)
        return respond(401, ENDED)

    server.script(late)
    async with gateway([plugin(server, command=command)]) as running:
        assert (await running.post(body())).status_code == 200
    assert number_in(server.requests[1].header("authorization")) == 7
    assert asked(home) == 0


async def test_a_login_that_stays_refused_is_told_once(server, home, tmp_path):
    login(home)
    server.script(respond(401, ENDED), respond(401, ENDED))
    async with gateway(stack(server, command=command_at(tmp_path))) as running:
        answered = await running.post(body())
    assert answered.status_code == 401
    assert answered.headers["x-should-retry"] == "false"
    assert "codex login" in answered.json()["error"]["message"]
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("answer", "said"),
    [(REFUSE, "signed out"), (DIE, "without a response"), (HANG, "timed out")],
)
async def test_a_command_that_does_not_renew_is_told(
    server, home, tmp_path, monkeypatch, answer, said
):
    if answer is HANG:
        monkeypatch.setattr(command_module, "ASK_SECONDS", 0.6)
    login(home, seconds=-10)
    async with gateway(stack(server, command=command_at(tmp_path, answer))) as running:
        answered = await running.post(body())
    assert answered.status_code == 401
    message = answered.json()["error"]["message"]
    assert said in message
    assert "codex login" in message


async def test_a_command_that_is_not_there_is_named_with_what_installs_it(server, home):
    login(home, seconds=-10)
    async with gateway(stack(server, command="no-such-codex")) as running:
        answered = await running.post(body())
    assert "npm install -g @openai/codex" in answered.json()["error"]["message"]


async def test_a_token_that_still_holds_is_used_where_it_cannot_be_renewed(server, home):
    access = login(home, seconds=30)
    async with gateway([plugin(server, command="no-such-codex")]) as running:
        assert (await running.post(body())).status_code == 200
    assert server.requests[0].header("authorization") == f"Bearer {access}"


async def test_the_file_is_never_written_and_the_command_gets_no_other_keys(
    server, home, tmp_path, monkeypatch
):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "canary-of-another")
    login(home, seconds=-10)
    async with gateway([plugin(server, command=command_at(tmp_path))]) as running:
        await running.post(body())
        before = (home / "auth.json").stat()
        await running.post(body())
    after = (home / "auth.json").stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
    given = json.loads((home / "environment").read_text())
    assert "canary-of-another" not in given.values()
    assert given["PATH"] == os.environ["PATH"]


async def test_a_caller_that_leaves_ends_the_command(server, home, tmp_path):
    login(home, seconds=-10)
    made = plugin(server, command=command_at(tmp_path, HANG))
    with anyio.move_on_after(0.5):
        await made.backend.login.current()
    assert asked(home) == 1
    number = int((home / "process").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


async def test_nothing_of_the_login_is_told_or_logged(server, home, tmp_path, caplog):
    login(home, seconds=-10)
    server.script(respond(401, ENDED), respond(401, ENDED))
    with caplog.at_level(logging.DEBUG):
        made = plugin(server, command=command_at(tmp_path))
        async with gateway([made]) as running:
            answered = await running.post(body())
            explained = await running.post(body(), "/v1/messages/explain")
            await running.post(body())
    current = await made.backend.login.current()
    shown = f"{answered.text} {answered.headers} {explained.text} {caplog.text} {current!r}"
    assert "canary" not in shown
    for sent in server.requests:
        assert sent.header("authorization").split()[1] not in shown
    assert "acct-1" not in shown


@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        (
            respond(403, b"<html>challenge</html>", {"content-type": "text/html"}),
            403,
            "does not imitate the `codex` command",
        ),
        (respond(404, b"", {"content-type": "text/html"}), 403, "plugin `openai`"),
        (
            respond(400, {"detail": "The 'x' model is not supported when using Codex"}),
            400,
            "is not supported",
        ),
        (respond(500, b"<html>oops</html>", {"content-type": "text/html"}), 500, ""),
    ],
)
async def test_a_refusal_says_what_can_be_done(server, home, script, status, said):
    login(home)
    server.script(script)
    async with gateway(stack(server)) as running:
        answered = await running.post(body())
    assert answered.status_code == status
    assert said in answered.json()["error"]["message"]


async def test_a_plan_that_is_used_up_says_when_it_is_not(server, home):
    login(home)
    error = {"type": "usage_limit_reached", "message": "The usage limit has been reached"}
    server.script(respond(429, {"error": {**error, "resets_in_seconds": 1800}}))
    async with gateway(stack(server)) as running:
        answered = await running.post(body())
    assert (answered.status_code, answered.headers["retry-after"]) == (429, "1800")


async def test_models_are_those_of_the_command_or_as_set(server, home, tmp_path):
    home.mkdir()
    made = plugin(server, command=command_at(tmp_path, MODELS))
    for _ in range(2):
        found = {info.id: info for info in await made.backend.models()}
    assert list(found) == ["gpt-a", "gpt-b"]
    assert found["gpt-a"].display_name == "GPT A"
    assert "images" in found["gpt-a"].capabilities
    assert "images" not in found["gpt-b"].capabilities
    assert asked(home) == 1
    named = plugin(server, models=["gpt-5"])
    assert [info.id for info in await named.backend.models()] == ["gpt-5"]
    with pytest.raises(BackendError, match="option `command`"):
        await plugin(server, command="no-such-codex").backend.models()


def test_a_login_never_travels_in_clear_text():
    with pytest.raises(ValidationError, match="clear text"):
        build_plugin(Codex, "mine", base_url="http://chatgpt.example.com")


# ── the real command ─────────────────────────────────────────────────────────────────────────


def real_command():
    cache = Path(os.environ.get("PLUGWAY_BUILD_CACHE", Path.home() / ".cache/plugway-build"))
    kept = cache / "codex/node_modules/.bin/codex"
    return shutil.which("codex") or (str(kept) if kept.exists() else "")


REAL = real_command()


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.skipif(not REAL, reason="the codex command is not installed")
async def test_the_real_command_renews_its_login(server, home, monkeypatch):
    """With a token endpoint on this machine; whatever else it wants to reach is refused."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    login(home, seconds=-10)
    fresh = {"access_token": token(2), "id_token": token("id"), "refresh_token": "r2"}

    async with ScriptedUpstream(otherwise=respond(200, fresh)) as issuer:
        monkeypatch.setenv("CODEX_REFRESH_TOKEN_URL_OVERRIDE", f"{issuer.url}/oauth/token")
        async with gateway([plugin(server, command=REAL)]) as running:
            answered = await running.post(body())
    assert answered.status_code == 200, answered.text
    assert number_in(server.requests[0].header("authorization")) == 2
    written = orjson.loads((home / "auth.json").read_bytes())
    assert written["tokens"]["refresh_token"] == "r2"
    assert (home / "auth.json").stat().st_mode & 0o777 == 0o600
