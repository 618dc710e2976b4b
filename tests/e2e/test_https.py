"""HTTPS with the real Claude Code, and the proxies of `docs/https.md` in front of the gateway."""

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import httpx2
import pytest
import trustme

from plugway.cli.local import LocalGateway
from plugway.config.config import parse_config
from plugway.testing import (
    Hold,
    ScriptedUpstream,
    WaitFor,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_wire.errors import PlugwayError
from tests.e2e.claude import ROOT, Claude, claude_binary

pytestmark = pytest.mark.anyio

PAGE = (ROOT / "docs/https.md").read_text("utf-8")
PLUGWAY = Path(sys.executable).with_name("plugway")
TOKEN = "token-of-a-test-0123456789"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def issued(folder, authority, *names):
    leaf = authority.issue_cert(*names)
    (folder / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
    (folder / "key.pem").write_bytes(leaf.private_key_pem.bytes())
    authority.cert_pem.write_to_path(folder / "ca.pem")


def self_signed(folder):
    """A certificate made by the command of the page."""
    (command,) = (text for text in blocks("sh") if text.startswith("openssl req"))
    words = command.replace("\\\n", " ").replace("llm.example.com", "localhost").split()
    words = ["cert.pem" if w == "fullchain.pem" else w.replace("privkey", "key") for w in words]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)


@contextmanager
def serving(folder, *lines, plugins="[{use: echo}]"):
    """`plugway serve` as a process with the certificate in `folder`; its configuration."""
    config = folder / "c.yaml"
    settings = [f"port: {free_port()}", "host: localhost", f"token: {TOKEN}", *lines]
    settings.append("tls: {certificate: cert.pem, key: key.pem}")
    config.write_text("server:\n  " + "\n  ".join(settings) + f"\nplugins: {plugins}\n")
    config.chmod(0o600)
    env = {"HOME": str(folder), "PATH": os.defpath}
    process = subprocess.Popen(
        [PLUGWAY, "serve", "--config", config, "--log-json"],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        logged(process, "listening")
        yield config, process
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def logged(process, words):
    for line in process.stderr:
        if words in line:
            return json.loads(line)
    raise AssertionError(f"the gateway ended without logging {words!r}")


# ---- Claude Code


@pytest.mark.real
@pytest.mark.parametrize(
    "own_authority",
    [True, pytest.param(False, marks=pytest.mark.slow)],
    ids=["authority", "self-signed"],
)
async def test_claude_code_trusts_what_node_extra_ca_certs_names(tmp_path, own_authority):
    if own_authority:
        issued(tmp_path, trustme.CA(), "localhost")
    else:
        self_signed(tmp_path)
    with serving(tmp_path) as (config, _):
        url = LocalGateway.find(config).url
        assert url.startswith("https://localhost:")
        claude = Claude(tmp_path, url, TOKEN, "anthropic/echo/echo")
        claude.trust(tmp_path / ("ca.pem" if own_authority else "cert.pem"))
        answer = await claude.run("-p", "good morning")
    assert answer.code == 0, answer.out + answer.err
    assert "You said: good morning" in answer.out


@pytest.mark.real
@pytest.mark.slow
def test_plugway_claude_trusts_the_certificate_of_its_gateway(tmp_path):
    self_signed(tmp_path)
    with serving(tmp_path) as (config, _):
        words = [PLUGWAY, "claude", "--config", config, "--claude", claude_binary()]
        done = subprocess.run(
            [*words, "--", "-p", "good morning"],
            env={"HOME": str(tmp_path), "PATH": os.defpath, "DISABLE_AUTOUPDATER": "1"},
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )
    assert done.returncode == 0, done.stderr
    assert "You said: good morning" in done.stdout


# ---- commands, and a renewal


async def test_a_stream_of_the_process_survives_a_renewal(tmp_path):
    authority, end = trustme.CA(), anyio.Event()
    issued(tmp_path, authority, "localhost")
    events = anthropic_stream(["first", "last"])
    async with ScriptedUpstream(sse([*events[:3], WaitFor(end), *events[3:]])) as upstream:
        plugins = (
            f"[{{use: anthropic-compatible, name: up, options: {{base_url: {upstream.url}}}}}]"
        )
        with serving(tmp_path, plugins=plugins) as (config, process):
            local = LocalGateway.find(config)
            headers = {"authorization": f"Bearer {TOKEN}"}
            context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            async with httpx2.AsyncClient(
                base_url=local.url, headers=headers, verify=context, trust_env=False
            ) as client:
                body = request_body("hi", model="up/test-model", stream=True)
                async with client.stream("POST", "/v1/messages", json=body) as response:
                    received = b""
                    chunks = response.aiter_raw()
                    while b"first" not in received:
                        received += await anext(chunks)
                    issued(tmp_path, trustme.CA(), "localhost", "renewed.test")
                    process.send_signal(signal.SIGHUP)
                    await anyio.to_thread.run_sync(logged, process, "renewed certificate")
                    end.set()
                    async for chunk in chunks:
                        received += chunk
            assert b"message_stop" in received
            shown = ssl.get_server_certificate(("localhost", local.port))
            new = (tmp_path / "cert.pem").read_text()
            assert shown.split() == new[new.index("-----BEGIN") :].split()
            state = await anyio.to_thread.run_sync(local.state)
            assert state is not None
            assert state["pid"] == process.pid


def test_a_command_does_not_send_the_token_to_another_certificate(tmp_path):
    issued(tmp_path, trustme.CA(), "localhost")
    with serving(tmp_path) as (config, _):
        other = tmp_path / "other"
        other.mkdir()
        issued(other, trustme.CA(), "localhost")
        copy = other / "c.yaml"
        copy.write_text(config.read_text())
        copy.chmod(0o600)
        with pytest.raises(PlugwayError, match="does not use the certificate in"):
            LocalGateway.find(copy).state()


# ---- proxies


def nginx(folder, port, to):
    """nginx with the server of the page, on other ports and paths."""
    (server,) = blocks("nginx")
    server = adapted(server, folder, port, to).replace("listen 443 ssl", f"listen {port} ssl")
    text = "\n".join(
        [
            "worker_processes 1; daemon off;",
            f"pid {folder}/nginx.pid; error_log {folder}/error.log;",
            "events {}",
            "http { access_log off;",
            *(
                f"{kind}_temp_path {folder}/{kind};"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ),
            server,
            "}",
        ]
    )
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "e.log"]


def caddy(folder, port, to):
    """Caddy with the site of the page, and the certificate of the test."""
    (site,) = blocks("caddy")
    site = adapted(site, folder, port, to).replace("localhost {", f"localhost:{port} {{", 1)
    tls = f"tls {folder}/cert.pem {folder}/key.pem"
    head = "{\n\tadmin off\n\tauto_https off\n}\n"
    (folder / "Caddyfile").write_text(head + site.replace("\n", f"\n\t{tls}\n", 1))
    return ["caddy", "run", "--config", folder / "Caddyfile"]


def adapted(text, folder, port, to):
    text = re.sub(r"/etc/\S+/fullchain\.pem", f"{folder}/cert.pem", text)
    text = re.sub(r"/etc/\S+/privkey\.pem", f"{folder}/key.pem", text)
    assert "127.0.0.1:8484" in text
    return text.replace("127.0.0.1:8484", f"127.0.0.1:{to}").replace("llm.example.com", "localhost")


@pytest.fixture(params=[nginx, caddy], ids=["nginx", "caddy"])
def proxied(request, tmp_path):
    """A client of a gateway behind the proxy, and the upstream of that gateway."""
    if shutil.which(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} is not installed")

    @asynccontextmanager
    async def run():
        issued(tmp_path, trustme.CA(), "localhost")
        tmp_path.chmod(0o755)
        port = free_port()
        async with ScriptedUpstream() as upstream:
            backend = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
            async with gateway(
                [backend], allowed_hosts=["llm.example.com", f"localhost:{port}"]
            ) as running:
                command = request.param(tmp_path, port, running.port)
                env = {"PATH": os.defpath + ":/usr/sbin", "HOME": str(tmp_path)}
                process = await anyio.open_process(command, env=env, stderr=subprocess.DEVNULL)
                try:
                    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
                    async with httpx2.AsyncClient(
                        base_url=f"https://localhost:{port}",
                        headers={"authorization": f"Bearer {running.token}"},
                        verify=context,
                        trust_env=False,
                        timeout=20,
                    ) as client:
                        await listening(port)
                        yield client, upstream
                finally:
                    process.terminate()
                    with anyio.CancelScope(shield=True):
                        await process.wait()

    return run


async def listening(port):
    with anyio.fail_after(20):
        while True:
            try:
                await (await anyio.connect_tcp("localhost", port)).aclose()
            except OSError:
                await anyio.sleep(0.05)
            else:
                return


MESSAGE = {"model": "up/test-model", "max_tokens": 64}


def said(text, **more):
    return {**MESSAGE, "messages": [{"role": "user", "content": text}], **more}


async def test_a_proxy_passes_each_event_on_at_once(proxied):
    end = anyio.Event()
    events = anthropic_stream(["first", "last"])
    async with proxied() as (client, upstream):
        upstream.script(sse([*events[:3], WaitFor(end), *events[3:]]))
        body = said("hi", stream=True)
        async with client.stream("POST", "/v1/messages", json=body) as response:
            assert response.status_code == 200
            received = b""
            chunks = response.aiter_raw()
            with anyio.fail_after(5):
                while b"first" not in received:
                    received += await anext(chunks)
            end.set()
            async for chunk in chunks:
                received += chunk
    assert b"message_stop" in received


async def test_a_client_that_leaves_a_proxy_ends_the_request(proxied):
    events = anthropic_stream(["first", "last"])
    async with proxied() as (client, upstream):
        upstream.script(sse([*events[:3], Hold()]))
        body = said("hi", stream=True)
        async with client.stream("POST", "/v1/messages", json=body) as response:
            await anext(response.aiter_raw())
        with anyio.fail_after(5):
            await upstream.requests[0].left.wait()


async def test_a_proxy_accepts_bodies_as_large_as_the_gateway_does(proxied, tmp_path):
    async with proxied() as (client, upstream):
        response = await client.post("/v1/messages", json=said("x" * 20_000_000))
        assert response.status_code == 200, response.text[:300]
        assert len(upstream.requests[0].body) > 20_000_000
        with suppress(httpx2.TransportError):  # Caddy closes the connection in the middle
            too_large = await client.post("/v1/messages", json=said("x" * 34_000_000))
            assert too_large.status_code == 413
        assert len(upstream.requests) == 1


async def test_a_name_in_front_of_a_proxy_must_be_allowed_and_no_header_replaces_it(proxied):
    async with proxied() as (client, _):
        allowed = {"host": "llm.example.com"}
        assert (await client.get("/health", headers=allowed)).status_code in (200, 404)
        forged = {"x-forwarded-host": "llm.example.com", "x-forwarded-for": "127.0.0.1"}
        response = await client.get("/health", headers={**forged, "authorization": "Bearer wrong"})
        assert "pid" not in response.json()


def test_the_settings_on_the_page_are_valid():
    for text in blocks("yaml"):
        text = text.replace("{$env: PLUGWAY_TOKEN}", TOKEN)
        assert parse_config(f"{text}plugins: []").server.allowed_hosts == ("llm.example.com",)
