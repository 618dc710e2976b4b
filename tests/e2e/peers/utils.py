"""Replaces the `utils` of llama.cpp's server tests: their requests go to a running gateway.

Its address and token come from the environment. Settings that a test makes on its server (batch
sizes, templates) have no effect; a test that needs another model is skipped.
"""

from __future__ import annotations

import json
import os
import re
import sys
from types import SimpleNamespace

import httpx2
import pytest

HOST, PORT = os.environ["PEERS_ADDRESS"].split(":")
HEADERS = {"authorization": f"Bearer {os.environ['PEERS_TOKEN']}"}
WORDS_OF_THEIR_MODEL = {
    "But she couldn't",
    '(Suddenly)+|\\{ " Sarax.',
    "^ blue",
    "(Aside|she|felter|alonger)+",
    "Whillicter",
    "(Suddenly)+",
}


def _no_download(url, **_):
    pytest.skip(f"needs {url}")


sys.modules["requests"] = SimpleNamespace(get=_no_download)  # type: ignore[assignment]


class ServerError(Exception):
    def __init__(self, code, body):
        self.code, self.body = code, body


class ServerProcess:
    """A handle for the gateway; attributes that tests set are kept and have no effect."""

    model_hf_repo = None
    n_ctx, n_slots = 512, 2
    server_host, server_port = HOST, int(PORT)

    def start(self, timeout_seconds=0):
        if self.model_hf_repo:
            pytest.skip(f"needs the model {self.model_hf_repo}")

    def make_request(self, method, path, data=None, headers=None, timeout=60):
        with self._client(headers) as client:
            got = client.request(method, _path(path), json=_named(data), timeout=timeout)
        try:
            body = got.json()
        except ValueError:
            body = got.text
        return SimpleNamespace(status_code=got.status_code, headers=got.headers, body=body)

    def make_stream_request(self, method, path, data=None, headers=None):
        with (
            self._client(headers) as client,
            client.stream(method, _path(path), json=_named(data)) as got,
        ):
            if got.status_code != 200:
                raise ServerError(got.status_code, json.loads(got.read()))
            for line in got.iter_lines():
                if line == "data: [DONE]":
                    return
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def _client(self, headers):
        url = f"http://{self.server_host}:{self.server_port}"
        return httpx2.Client(
            base_url=url, headers=HEADERS | (headers or {}), timeout=60, trust_env=False
        )


class ServerPreset:
    @staticmethod
    def tinyllama2():
        return ServerProcess()

    @staticmethod
    def tinygemma3():
        found = ServerProcess()
        found.model_hf_repo = "ggml-org/tinygemma3-GGUF:Q8_0"
        return found


def match_regex(regex, text):
    """Accepts any text: the pattern describes their model's output."""
    if regex in WORDS_OF_THEIR_MODEL:
        return bool(text)
    return re.search(regex, text, re.IGNORECASE | re.MULTILINE | re.DOTALL) is not None


def _path(path):
    """The path with `/v1`: their server accepts every path with and without it."""
    return path if path.startswith("/v1/") else f"/v1{path}"


def _named(data):
    """The request with a model: their server has only one, so requests may omit it."""
    return data and data | {"model": data.get("model") or "default"}
