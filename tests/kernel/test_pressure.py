"""What happens before files or memory run out."""

from __future__ import annotations

import errno
import resource
import socket
import subprocess
import sys

import anyio
import pytest

from plugway.exchange.intake import PRESSURE
from plugway.http.server import serving
from plugway.testing import RawClient, gateway, messages_request
from plugway_http.pressure import Pressure
from plugway_testing._plain import PlainBackend, PlainOptions

pytestmark = pytest.mark.anyio


def test_files_are_counted_against_the_limit():
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert Pressure(max_files=soft).update() == "calm"
    assert Pressure(max_files=3).update() == "pause"


FULL = """
import os, resource
from plugway_http.pressure import Pressure
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
pressure = Pressure()
before, held = pressure.update(), []
try:
    while True:
        held.append(os.dup(0))
except OSError:
    full = pressure.update()
for number in held:
    os.close(number)
print(before, full, pressure.update())
"""


def test_a_process_without_any_file_left_is_not_calm():
    command = [sys.executable, "-c", FULL]
    found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout.split() == ["calm", "pause", "calm"]


def test_memory_sheds_work_before_it_stops_connections(monkeypatch):
    pressure = Pressure(max_bytes=1000)
    found = []
    for used in (899, 900, 949, 950):
        monkeypatch.setattr("plugway_http.pressure._resident_bytes", lambda used=used: used)
        found.append(pressure.update())
    assert found == ["calm", "shed", "shed", "pause"]


async def test_new_exchanges_are_told_to_come_back(monkeypatch):
    monkeypatch.setattr(PRESSURE, "update", lambda clients=0: "shed")
    monkeypatch.setattr(PRESSURE, "state", "shed")
    async with gateway([PlainBackend(PlainOptions(), name="plain")]) as running:
        response = await running.post(
            {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        )
    assert response.status_code == 529
    assert "short of memory" in response.json()["error"]["message"]


async def app(scope, receive, send):
    """Answers with 204."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def status(port):
    async with RawClient(f"http://127.0.0.1:{port}") as client:
        await client.send(messages_request({}))
        return (await client.read_head()).status


async def test_connections_wait_and_are_served_afterwards(caplog):
    class FixedPressure(Pressure):
        wanted = "calm"

        def update(self, clients=0):
            self.state = self.wanted
            return self.state

    pressure = FixedPressure()
    async with serving(app, pressure=pressure) as port:
        assert await status(port) == 204
        pressure.wanted = "pause"
        await anyio.sleep(1.2)  # the server looks every second
        async with RawClient(f"http://127.0.0.1:{port}") as second:
            await second.send(messages_request({}))
            with pytest.raises(TimeoutError):
                await second.read_head(seconds=0.3)
            pressure.wanted = "calm"
            assert (await second.read_head(seconds=5)).status == 204
    assert caplog.text.count("new connections wait until files or memory are free again") == 1


async def test_a_connection_for_which_there_was_no_file_is_served_afterwards(monkeypatch, caplog):
    accept = socket.socket.accept

    def fail_once(self):
        monkeypatch.setattr(socket.socket, "accept", accept)
        raise OSError(errno.EMFILE, "Too many open files")

    async with serving(app) as port:
        monkeypatch.setattr(socket.socket, "accept", fail_once)
        assert await status(port) == 204
    assert "Too many open files" in caplog.text


def test_room_is_kept_for_the_upstream_of_each_connection():
    pressure = Pressure(max_files=1000)
    pressure.update()
    most = max(clients for clients in range(1000) if pressure.has_room(clients))
    assert 300 < most < 400
    pressure = Pressure(max_files=3)
    pressure.update()
    assert not pressure.has_room(0)
