"""A gateway in a container of the image: what it is given, and how it is asked."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2

from tests.deploy.dockerfile import health_check, read

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UID = 10001
URL = "http://127.0.0.1:8484"
TOKEN = "token-of-the-gateway-0123456789"
CONFIG = "/etc/plugway/config.yaml"
STATE = "/var/lib/plugway"


class Folders:
    """What is mounted into a container: a configuration, secrets, the state."""

    def __init__(self, folder):
        self.config = folder / "config.yaml"
        self.secrets = folder / "secrets"
        self.state = folder / "state"
        self.secrets.mkdir()
        self.state.mkdir()
        os.chown(self.state, UID, UID)
        self.secret("gateway_token", TOKEN)
        self.secret("anthropic_key", "key-of-a-test-0123456789")

    def secret(self, name, text):
        path = self.secrets / name
        path.write_text(text)
        os.chown(path, 0, UID)
        path.chmod(0o440)

    @property
    def binds(self):
        return {self.config: CONFIG, self.secrets: "/run/secrets", self.state: STATE}

    def writes(self, plugins, server=""):
        head = "host: 0.0.0.0, behind_tls: true, token: {$file: /run/secrets/gateway_token}"
        self.config.write_text(f"server: {{{head}{server}}}\nplugins:\n{plugins}")


def cloud(upstream):
    key = "api_key: {$file: /run/secrets/anthropic_key}"
    return f"  - {{use: anthropic, name: cloud, options: {{{key}, base_url: '{upstream.url}'}}}}\n"


def ended(container, *command, **options):
    """The exit status and the output of a container that stops by itself."""
    with container(command=command, **options) as running:
        return running.ended()


def client():
    return httpx2.AsyncClient(
        base_url=URL, headers={"x-api-key": TOKEN}, timeout=30, trust_env=False
    )


async def listening(running):
    await anyio.to_thread.run_sync(running.line_with, "token")


async def healthy(running):
    """Whether the `HEALTHCHECK` passes in a container."""
    (stage,) = read(DOCKERFILE)[-1:]
    command, _ = health_check(stage)
    code, _ = await anyio.to_thread.run_sync(running.execute, command)
    return code == 0
