"""`plugway models` against a hub on this machine and a running plugin."""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import odd_gguf
import pytest
from typer.testing import CliRunner

from plugway_llama_cpp._kind import GGUF
from plugway_local_models import PullFailed, RemoteFile, models_folder
from plugway_local_models._commands import models_app
from plugway_local_models._control import ask_gateways
from plugway_local_models._hub import Hub, pull


class FakeHub(ThreadingHTTPServer):
    """Lists files, redirects to a storage, serves ranges; cuts off when told to."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.cut_after = None
        self.hashes = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        self.linked = dict(self.hashes)
        self.requests = []
        self.listed = True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def add(self, name, data):
        self.files[name] = data
        self.hashes[name] = self.linked[name] = hashlib.sha256(data).hexdigest()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        hub = self.server
        path = self.path.partition("?")[0]
        hub.requests.append((path, self.headers.get("range")))
        name = path.rpartition("/")[2]
        if path == "/api/models/org/repo/tree/main":
            self.answer(200, json.dumps([self.entry(n) for n in hub.files]).encode())
        elif path.startswith("/org/repo/resolve/main/") and name in hub.files:
            linked = f'"{hub.linked[name]}"'
            self.answer(302, b"", location=f"/storage/{name}", **{"x-linked-etag": linked})
        elif path.startswith("/storage/"):
            self.serve(name)
        else:
            self.answer(404, b"not found")

    def entry(self, name):
        hub = self.server
        lfs = {"oid": hub.hashes[name], "size": len(hub.files[name])} if hub.listed else None
        return {"path": name, "size": len(hub.files[name]), "lfs": lfs}

    def serve(self, name):
        data, start = self.server.files[name], 0
        if (wanted := self.headers.get("range")) is not None:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        rest = data[start:]
        self.send_response(206 if start else 200)
        self.send_header("content-length", str(len(rest)))
        self.end_headers()
        if (cut := self.server.cut_after) is not None:
            self.server.cut_after = None
            rest = rest[:cut]
        self.wfile.write(rest)

    def answer(self, status, body, **headers):
        self.send_response(status)
        for key, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def hub(models):
    data = models["full"].read_bytes()
    server = FakeHub(
        {
            "tiny-Q8_0.gguf": models["sliding"].read_bytes(),
            "tiny-Q4_K_M.gguf": data,
            "mmproj-F16.gguf": b"x",
            "README.md": b"hello",
        }
    )
    yield server
    server.shutdown()
    server.server_close()


def run(*words):
    result = CliRunner().invoke(models_app, words)
    return result.exit_code, result.stdout, result.stderr


def fetch(hub, name, folder, seen=None):
    client = Hub(hub.url)
    try:
        return pull(client, name, folder, lambda *report: seen.append(report) if seen else None)
    finally:
        client.close()


def test_a_model_is_pulled_listed_shown_and_removed(hub):
    code, out, err = run("pull", "org/repo", "--endpoint", hub.url)
    assert (code, out.strip()) == (0, "org/repo/tiny-Q4_K_M"), err
    code, out, _ = run("list", "--json")
    row = next(r for r in json.loads(out) if r["model"] == "org/repo/tiny-Q4_K_M")
    assert row["architecture"] == "llama"
    code, out, _ = run("show", "org/repo/tiny-Q4_K_M")
    assert "available" in out
    code, _, _ = run("rm", "org/repo/tiny-Q4_K_M", "--yes")
    assert code == 0
    assert not list(models_folder().rglob("*.gguf"))


def test_a_pull_that_is_cut_off_goes_on_where_it_stopped(hub, tmp_path):
    hub.cut_after = 50_000
    (path,) = fetch(hub, "org/repo:q4_k_m", tmp_path)
    assert path.read_bytes() == hub.files["tiny-Q4_K_M.gguf"]
    assert ("/storage/tiny-Q4_K_M.gguf", "bytes=50000-") in hub.requests
    assert not list(tmp_path.rglob("*.part"))


def test_a_part_of_an_earlier_run_is_continued(hub, tmp_path):
    part = tmp_path / "org/repo/tiny-Q4_K_M.gguf.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(hub.files["tiny-Q4_K_M.gguf"][:1000])
    fetch(hub, "org/repo", tmp_path)
    assert ("/storage/tiny-Q4_K_M.gguf", "bytes=1000-") in hub.requests


@pytest.mark.parametrize("listed", [True, False])
def test_a_hash_that_does_not_fit_is_refused_and_nothing_kept(hub, tmp_path, listed):
    hub.listed = listed
    hub.linked["tiny-Q4_K_M.gguf"] = hub.hashes["tiny-Q4_K_M.gguf"] = "0" * 64
    with pytest.raises(PullFailed, match="SHA-256"):
        fetch(hub, "org/repo", tmp_path)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_what_is_no_model_is_refused_though_its_hash_fits(hub, tmp_path):
    hub.add("bad-Q6_K.gguf", b"\x80\x04 a pickle")
    with pytest.raises(PullFailed, match="pickle"):
        fetch(hub, "org/repo:Q6_K", tmp_path)


@pytest.mark.parametrize("name", ["repo", "../../etc/passwd", "org/repo:Q4:x", "org/../x:Q4"])
def test_a_name_of_another_form_is_refused(hub, tmp_path, name):
    with pytest.raises(PullFailed, match="form"):
        fetch(hub, name, tmp_path)


def test_an_unknown_repository_or_quantisation_is_named(hub):
    code, _, err = run("pull", "org/other", "--endpoint", hub.url)
    assert code == 1
    assert "does not exist" in err
    code, _, err = run("pull", "org/repo:Q2_K", "--endpoint", hub.url)
    assert code == 1
    assert "tiny-Q8_0.gguf" in err


def test_all_parts_of_a_split_model_are_chosen():
    files = [RemoteFile(f"m-Q8_0-0000{n}-of-00003.gguf", 1, "") for n in (3, 1, 2)]
    assert len(GGUF.choose(files, "", "r")) == 3
    assert [f.path for f in GGUF.choose(files, "q8_0", "r")] == sorted(f.path for f in files)


def test_a_split_model_is_pulled_as_its_maker_split_it(hub, models, tmp_path):
    parts = odd_gguf.split(models["full"], tmp_path / "made", name="tiny-Q5_K_M")
    for part in parts:
        hub.add(part.name, part.read_bytes())
    paths = fetch(hub, "org/repo:Q5_K_M", tmp_path)
    assert [path.name for path in paths] == [part.name for part in parts]


def test_a_hub_that_has_not_all_parts_is_told(hub, models, tmp_path):
    for part in odd_gguf.split(models["full"], tmp_path / "made", name="tiny-Q5_K_M")[:2]:
        hub.add(part.name, part.read_bytes())
    with pytest.raises(PullFailed, match=r"part 3 of its 3 parts is missing"):
        fetch(hub, "org/repo:Q5_K_M", tmp_path)


def test_an_image_projector_is_pulled_only_when_it_is_named():
    names = ("m-Q4_K_M.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf")
    files = [RemoteFile(name, 1, "") for name in names]
    chosen = {q: GGUF.choose(files, q, "r")[0].path for q in ("", "mmproj", "mmproj-f32")}
    assert chosen == {"": names[0], "mmproj": names[1], "mmproj-f32": names[2]}
    with pytest.raises(PullFailed, match="has no file for `F16`"):
        GGUF.choose(files, "F16", "r")


def test_what_does_not_exist_fails_with_advice():
    code, _, err = run("show", "nothing")
    assert code == 1
    assert "plugway models pull" in err
    code, _, err = run("ps")
    assert code == 1
    assert "plugway serve" in err


@pytest.mark.parametrize("words", [["ps"], ["load", "demo"], ["unload", "demo"]])
def test_the_gateway_of_a_configuration_is_asked_and_no_other(words, tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    config = tmp_path / "config.yaml"
    config.write_text(f"server: {{port: {port}}}\nplugins: []\n")
    code, _, err = run(*words, "--config", str(config))
    assert code == 1
    assert f"no gateway responds at http://127.0.0.1:{port}" in err


@pytest.mark.anyio
async def test_a_running_gateway_loads_and_unloads(engine, models, monkeypatch):
    folder = Path(tempfile.mkdtemp())
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    try:
        async with engine(models["full"]) as e:
            await e.ready()
            code, out, _ = await anyio.to_thread.run_sync(run, "ps", "--json")
            (row,) = json.loads(out)
            assert (row["model"], row["state"]) == ("full", "ready")
            here = partial(ask_gateways, {"do": "ps"}, pid=os.getpid())
            assert len(await anyio.to_thread.run_sync(here)) == 1
            assert ask_gateways({"do": "ps"}, pid=1) == []
            code, _, err = await anyio.to_thread.run_sync(run, "unload", "full")
            assert code == 0, err
            assert not e.backend.loader.loaded
            code, _, err = await anyio.to_thread.run_sync(run, "unload", "full")
            assert code == 1
            code, _, err = await anyio.to_thread.run_sync(run, "load", "full")
            assert code == 0, err
            assert e.loaded.supervisor.state == "ready"
            code, _, err = await anyio.to_thread.run_sync(run, "load", "unknown")
            assert code == 1
            assert "unknown" in err
            newer = models_folder() / "newer.gguf"
            newer.parent.mkdir(parents=True)
            odd_gguf.rewrite(models["full"], newer, architecture="newer9")
            code, _, err = await anyio.to_thread.run_sync(run, "load", "newer")
            assert code == 1
            log = e.backend.loader.loaded["newer"].supervisor.spec.log
            assert "unknown model architecture: 'newer9'" in err
            assert f"Its log: {log}" in err
            code, _, err = await anyio.to_thread.run_sync(run, "ps")
            assert f"Its log: {log}" in err
    finally:
        shutil.rmtree(folder)


def test_without_unix_sockets_the_commands_of_a_running_gateway_say_so(monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")
    done = CliRunner().invoke(models_app, ["ps"])
    assert done.exit_code == 1
    assert "no Unix sockets" in " ".join(done.output.split())
