"""A plugin made with `plugway new` can be installed with pip, configured and used."""

import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import orjson
import pytest

from plugway.testing import request_body

pytestmark = pytest.mark.anyio
PLUGWAY = [str(Path(sys.executable).with_name("plugway"))]


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A copy of the template under another name, installed into its own folder."""
    folder = tmp_path_factory.mktemp("new")
    run(*PLUGWAY, "new", "house-rules", "--directory", str(folder / "plugway-house-rules"))
    site = folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "--target", str(site), str(folder / "plugway-house-rules"))
    env = {**os.environ, "PYTHONPATH": str(site)}
    return folder, env


def test_its_own_tests_pass(installed):
    folder, env = installed
    tests = folder / "plugway-house-rules" / "tests"
    run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(tests),
        env=env,
        cwd=folder,
    )


def test_it_is_listed_but_not_active(installed):
    _, env = installed
    listed = json.loads(run(*PLUGWAY, "plugins", "--json", env=env))
    text = json.dumps(listed)
    assert "house-rules" in text
    assert "plugway-house-rules" in text


@asynccontextmanager
async def serving(config, env, folder):
    (folder / "config.yaml").write_text(config)
    (folder / "config.yaml").chmod(0o600)
    command = [*PLUGWAY, "serve", "--config", str(folder / "config.yaml")]
    async with await anyio.open_process(command, env=env, stderr=subprocess.PIPE) as process:
        try:
            banner = ""
            with anyio.fail_after(20):
                while "http://127.0.0.1:" not in banner:
                    banner += (await process.stderr.receive()).decode()
            port = banner.partition("http://127.0.0.1:")[2].split()[0].rstrip("/")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def test_a_gateway_that_lists_it_runs_it(installed):
    folder, env = installed
    config = """
server: {port: 0, token: house-token}
plugins:
  - use: house-rules
    options: {text: "Answer in verse."}
  - use: echo
"""
    async with serving(config, env, folder) as url, httpx2.AsyncClient(trust_env=False) as client:
        response = await client.post(
            url + "/v1/messages/explain",
            content=orjson.dumps(request_body()),
            headers={"x-api-key": "house-token", "content-type": "application/json"},
        )
    said = response.json()
    assert said["upstream_request"]["body"]["system"][-1]["text"] == "Answer in verse."
    assert said["receipt"][0]["plugin"] == "house-rules"
