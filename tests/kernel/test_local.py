"""The user's own gateway as commands see it."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import anyio.to_thread
import pytest

from plugway import ConfigError, LocalGateway, Options, PlugwayError, Secret
from plugway.testing import PlainBackend, build_plugin, gateway


def config(folder, port, token="test-token"):
    path = folder / "config.yaml"
    path.write_text(f"server: {{port: {port}, token: {token}}}\nplugins: []")
    path.chmod(0o600)
    return path


@pytest.mark.anyio
async def test_a_running_gateway_is_known_by_its_token(tmp_path):
    async with gateway([build_plugin(PlainBackend, "plain")]) as running:
        here = LocalGateway.find(config(tmp_path, running.port))
        state = await anyio.to_thread.run_sync(here.state)
        assert state is not None
        assert state["plugins"] == ["plain"]
        assert here.url == running.url
        assert here.configured
        other = LocalGateway.find(config(tmp_path, running.port, "another-token"))
        with pytest.raises(PlugwayError):
            await anyio.to_thread.run_sync(other.state)


def test_where_nothing_listens_nothing_runs(tmp_path):
    assert LocalGateway.find(config(tmp_path, 9)).state() is None
    assert LocalGateway.find(config(tmp_path, 9), 10).url == "http://127.0.0.1:10"


class Stranger(BaseHTTPRequestHandler):
    body = b"<html>"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("body", [b"<html>", b"[]", json.dumps({"status": "ok"}).encode()])
def test_another_program_on_the_port_is_told(tmp_path, body, monkeypatch):
    monkeypatch.setattr(Stranger, "body", body)
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        here = LocalGateway.find(config(tmp_path, server.server_port))
        with pytest.raises(PlugwayError, match=r"not Plugway|another user"):
            here.state()
        thread.join()


def test_the_token_is_not_shown(tmp_path):
    assert "test-token" not in repr(LocalGateway.find(config(tmp_path, 9)))


def test_the_options_of_a_plugin_are_read_with_their_secrets(tmp_path, monkeypatch):
    class SecretOptions(Options):
        """Options with a secret."""

        key: Secret
        """A key."""
        size: int = 1
        """A size."""

    monkeypatch.setenv("KEY_OF_A_TEST", "key-1f2e3d4c")
    path = tmp_path / "config.yaml"
    path.write_text("plugins:\n  - use: mine\n    options: {key: {$env: KEY_OF_A_TEST}}")
    here = LocalGateway.find(path)
    found = here.options_of("mine", SecretOptions)
    assert found is not None
    assert (found.key.get_secret_value(), found.size) == ("key-1f2e3d4c", 1)
    assert here.options_of("other", SecretOptions) is None
    path.write_text("plugins:\n  - use: mine\n    options: {key: {$env: KEY_OF_A_TEST}, size: big}")
    with pytest.raises(ConfigError, match=r"config.yaml:3:.*`plugins\[0\].options.size`"):
        LocalGateway.find(path).options_of("mine", SecretOptions)
