"""A gateway that is killed in the middle of requests, as a process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import httpx2
import pytest
from logs import files, records, verified

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
PLUGWAY = str(Path(sys.executable).with_name("plugway"))
CONFIG = """
server: {{port: 0, token: {{$file: "{home}/token"}}}}
plugins:
  - {{use: audit-log, options: {{folder: "{folder}", fsync: {fsync}}}}}
  - {{use: echo}}
"""


async def killed_while_busy(folder, fsync):
    """Serve, send requests without a pause, and kill the process; the number of replies."""
    config, out = folder / "config.yaml", folder / "out"
    (folder / "token").touch(0o600)
    (folder / "token").write_text("test-token-of-this-test")
    config.write_text(CONFIG.format(home=folder, folder=folder / "log", fsync=fsync))
    with out.open("wb") as log:
        process = await anyio.open_process(
            [PLUGWAY, "serve", "--config", str(config)],
            stdout=log,
            stderr=log,
            env=dict(os.environ),
        )
    replied = 0
    try:
        with anyio.fail_after(30):
            while "http://127.0.0.1:" not in out.read_text():
                assert process.returncode is None, out.read_text()
                await anyio.sleep(0.02)
        port = out.read_text().partition("http://127.0.0.1:")[2].split()[0].rstrip("/")
        body = {"model": "echo/m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        headers = {"authorization": "Bearer test-token-of-this-test"}
        url = f"http://127.0.0.1:{port}/v1/messages"

        async def keep_asking(client):
            nonlocal replied
            while True:
                try:
                    reply = await client.post(url, json=body, headers=headers)
                except httpx2.TransportError:
                    return
                replied += reply.status_code == 200

        async with (
            httpx2.AsyncClient(trust_env=False, verify=False) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(4):
                group.start_soon(keep_asking, client)
            while replied < 300:
                await anyio.sleep(0.001)
            process.kill()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.aclose()
    return replied


@pytest.mark.parametrize("fsync", ["interval", "always"])
async def test_a_killed_gateway_leaves_a_chain_that_the_next_one_continues(tmp_path, fsync):
    replied = await killed_while_busy(tmp_path, fsync)
    (report,) = verified(tmp_path / "log")
    assert report["broken"] is None
    kept = sum(r["kind"] == "exchange" for r in records(tmp_path / "log"))
    # Only records of the last moment, in which a busy disk stood still, had not been written.
    assert replied - 200 <= kept <= replied + 4
    await killed_while_busy(tmp_path, fsync)
    (report,) = verified(tmp_path / "log")
    assert report["broken"] is None
    starts = [r for r in records(tmp_path / "log") if r["kind"] == "start"]
    assert [r["clean"] for r in starts] == [True, False]
    assert len(files(tmp_path / "log")) == 1
