"""Where the servers come from, what they report, and when they get requests again."""

import os
import socket

import anyio
import pytest
from engines import Engine, engines, pool_of, running, server_of, turn
from pydantic import ValidationError

from plugway import BackendTimeout, StoredKey, remember_key
from plugway.testing import (
    Hold,
    WaitFor,
    anthropic_stream,
    build_plugin,
    respond,
    sse,
)
from plugway_pool import Pool
from plugway_pool._addresses import DnsAddresses, FileAddresses
from plugway_pool._load import Load, load_in, load_of_slots

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} 4.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0
"""
SGLANG = """sglang:num_running_reqs{model_name="m",tp_rank="0"} 1.0
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 7.0
"""
LLAMA = "llamacpp:requests_processing 2\nllamacpp:requests_deferred 1\n"


async def until(found):
    """Wait for what happens in the background."""
    with anyio.fail_after(10):
        while not found():
            await anyio.sleep(0.01)


# ── load ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("page", "load"),
    [
        (VLLM, Load(5, 4)),
        (SGLANG, Load(1, 7)),
        (LLAMA, Load(2, 1)),
        ("", None),
        ("<html>vllm:num_requests_running</html>", None),
        ("vllm:num_requests_running{} NaN\n", None),
        ("vllm:num_requests_running{} +Inf\n", None),
        ("vllm:num_requests_running{} -1\n", None),
        ("vllm:num_requests_running{} 1e300\n", None),
        ("vllm:num_requests_running{} many\n", None),
        ("vllm:num_requests_running{" + "a" * 100_000, None),
        ("vllm:num_requests_waiting{} 60000\n" * 2, None),
    ],
    ids=lambda value: str(value)[:24].strip() or "empty",
)
def test_the_load_is_read_if_it_is_plausible(page, load):
    assert load_in(page.encode()) == load


@pytest.mark.parametrize(
    ("page", "load"),
    [
        (b'[{"id":0,"is_processing":true},{"id":1,"is_processing":false}]', Load(1, 0, 2)),
        (b"[]", None),
        (b'{"error":{"code":501}}', None),
        (b'[{"id":0}]', None),
        (b'[{"is_processing":"yes"}]', None),
        (b"not JSON", None),
    ],
)
def test_slots_are_read_if_they_are_plausible(page, load):
    assert load_of_slots(page) == load


async def test_a_server_that_others_keep_busy_is_avoided():
    async with engines("a", "b") as found:
        for one in found:
            one.pages["/metrics"] = respond(200, b"vllm:num_requests_running 0\n")
        async with running(found, load_seconds=0.05) as (served, pool):
            first = await server_of(served, "s")
            busy = next(one for one in found if one.name == first)
            busy.pages["/metrics"] = respond(200, VLLM.encode())
            (server,) = [s for s in pool.backend.members.active if s.address == busy.url]
            await until(lambda: server.load(0) > 20 or _reported(server))
            assert await server_of(served, "s") != first


def _reported(server):
    return server._reported is not None and server._reported[2] == Load(5, 4)


@pytest.mark.parametrize(
    "page",
    [
        [Hold()],
        respond(500, b"no"),
        respond(200, b"x" * 5_000_000),
        respond(200, b"vllm:num_requests_waiting -5\n"),
        respond(200, b"\xff\xfe\x00"),
        respond(302, b"", {"location": "http://127.0.0.1:1/"}),
        [b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nvllm:", Hold()],
        [b"nonsense\r\n\r\n"],
    ],
    ids=["hangs", "500", "huge", "negative", "bytes", "redirect", "stops", "no HTTP"],
)
async def test_metrics_that_cannot_be_used_do_no_harm(page):
    async with engines("a", "b") as found:
        for one in found:
            one.pages["/metrics"] = page
        async with running(found, load_seconds=0.05) as (served, pool):
            await found[0].wait_for_request(1)
            await found[1].wait_for_request(1)
            names = {await server_of(served, f"s{n}") for n in range(24)}
            assert names == {"a", "b"}
            assert not pool.health()
            assert all(s.load(0) == s.running for s in pool.backend.members.active)


async def test_one_server_that_reports_nonsense_does_not_switch_the_limit_off_for_others():
    go = anyio.Event()
    async with engines(*"abc") as found:
        found[0].pages["/metrics"] = respond(200, b"vllm:num_requests_running 90000\n")
        async with running(found, load_seconds=0.05, comfortable=1) as (served, pool):
            liar = next(s for s in pool.backend.members.active if s.address == found[0].url)
            await until(lambda: liar._reported)
            at = {}
            for number in range(40):
                at.setdefault(await server_of(served, f"s{number}"), []).append(f"s{number}")
            assert set(at) == {"b", "c"}
            found[1].fails = [WaitFor(go), *respond(500)]
            before = len(found[1].requests)
            async with anyio.create_task_group() as group:
                for session in at["b"][:2]:
                    group.start_soon(turn, served, session)
                await found[1].wait_for_request(before + 1)
                await until(lambda: found[2].turns)
                assert await server_of(served, at["b"][3]) == "c"
                go.set()


# ── health ───────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_dies_is_noticed_before_a_request_meets_it():
    async with engines("a", "b") as found, running(found, check_seconds=0.05) as (served, pool):
        first = await server_of(served, "s")
        dead = next(one for one in found if one.name == first)
        await dead.__aexit__()
        await until(pool.health)
        assert await server_of(served, "s") != first
        await dead.__aenter__()
        for server in pool.backend.members.active:
            if not server.health.available:
                server.health.ejected_until = 0.0
        await until(lambda: not pool.health())


async def test_a_server_that_still_loads_does_not_return():
    async with engines("a", "b") as found:
        found[0].pages["/v1/models"] = respond(503, {"error": {"message": "Loading model"}})
        async with running(found, kind="llama-server", check_seconds=0.05) as (_, pool):
            server = pool.backend.members.active[0]
            server.health.failed(0.0, "gone", unreachable=True)
            server.health.ejected_until = 0.0
            count = len(found[0].requests)
            await found[0].wait_for_request(count + 3)
            assert not server.health.available
            del found[0].pages["/v1/models"]
            await until(lambda: server.health.available)


async def test_a_check_that_hangs_does_not_eject_a_server_that_serves():
    async with engines("a") as found, running(found) as (served, pool):
        (server,) = pool.backend.members.active
        found[0].pages["/v1/models"] = [Hold()]

        for _ in range(4):
            began = server._served_at
            await server_of(served, "s")
            assert server._served_at > began
            server._is_hung(began, _timeout())
        assert not pool.health()
        for _ in range(3):
            server._is_hung(float("inf"), _timeout())
        assert pool.health()[0].state == "skipped"


def _timeout():
    return BackendTimeout("timed out")


# ── the list ─────────────────────────────────────────────────────────────────────────────────


def write(path, *lines):
    """Replace a file, as an orchestrator does."""
    draft = path.with_suffix(".new")
    draft.write_text("\n".join(lines))
    os.replace(draft, path)


async def test_servers_join_and_leave_with_the_file(tmp_path):
    path, go = tmp_path / "servers.txt", anyio.Event()
    async with engines("a", "b") as found:
        write(path, f"{found[0].url}  # the first")
        async with running(found, file=path, refresh_seconds=0.1) as (served, pool):
            members = pool.backend.members
            events = anthropic_stream("last words")
            found[0].fails = sse([*events[:3], WaitFor(go), *events[3:]])
            texts = []

            async def stream():
                texts.append((await turn(served, "old", stream=True)).text)

            async with anyio.create_task_group() as group:
                group.start_soon(stream)
                await found[0].wait_for_request(1)
                write(path, f"{found[1].url}/")
                await until(lambda: [s.address for s in members.active] == [found[1].url])
                assert len(members.servers) == 2, "its stream still runs"
                assert "left the list" in pool.health()[0].reason
                assert await server_of(served, "old") == "b"
                assert await server_of(served, "new") == "b"
                go.set()
            assert "last words" in texts[0]
            assert "message_stop" in texts[0]
            await until(lambda: len(members.servers) == 1)
            write(path, found[0].url, found[1].url)
            await until(lambda: len(members.active) == 2)


@pytest.mark.parametrize("after", [[], ["# none"], ["not a url"], None])
async def test_a_list_that_becomes_empty_is_not_used(tmp_path, caplog, after):
    path = tmp_path / "servers.txt"
    async with engines("a") as found:
        write(path, found[0].url)
        async with running(found, file=path, refresh_seconds=0.1) as (served, pool):
            if after is None:
                path.unlink()
            else:
                write(path, *after)
            await until(lambda: "keeping the last" in caplog.text)
            assert await server_of(served, "s") == "a"
            assert len(pool.backend.members.active) == 1
        assert caplog.text.count("keeping the last") == 1


async def test_a_wrong_line_is_named_and_the_others_are_used(tmp_path, caplog):
    path = tmp_path / "servers.txt"
    write(path, "http://127.0.0.1:1", "http://127.0.0.1:1", "ftp://x", "http://127.0.0.1:2/v1")
    found = await FileAddresses(path, pool_of([], file=_valid(tmp_path)).log, with_key=False).read()
    assert found == ["http://127.0.0.1:1"]
    assert f"{path}:3" in caplog.text
    assert f"{path}:4" in caplog.text


def _valid(folder):
    path = folder / "valid.txt"
    write(path, "http://127.0.0.1:1")
    return path


async def test_another_machine_does_not_join_a_pool_in_the_local_zone(tmp_path, caplog):
    path = tmp_path / "servers.txt"
    async with engines("a") as found:
        write(path, found[0].url)
        async with running(found, file=path, refresh_seconds=0.1) as (_, pool):
            assert pool.backend.zone == "local"
            write(path, found[0].url, "http://192.0.2.1:8000")
            await until(lambda: "set `zone` to allow" in caplog.text)
            assert [s.address for s in pool.backend.members.active] == [found[0].url]


async def test_a_key_goes_to_no_server_that_it_is_not_for(tmp_path, caplog):
    path = tmp_path / "servers.txt"
    async with engines("a", "b") as found:
        remember_key("fleet", StoredKey("stored-key-0123456789", origin=found[0].url))
        write(path, found[0].url)
        options = {"file": path, "refresh_seconds": 0.1, "api_key": "stored-key-0123456789"}
        async with running(found, **options) as (served, pool):
            write(path, found[0].url, found[1].url)
            await until(lambda: f"{found[1].url} is ignored: this key is stored for" in caplog.text)
            write(path, found[1].url)
            await pool.backend.members.update([found[1].url])
            assert await server_of(served, "s") == "a", "the last usable list is kept"
            assert len(pool.backend.members.active) == 1
        assert found[0].turns[0].header("authorization") == "Bearer stored-key-0123456789"
        remember_key("fleet", StoredKey(""))


async def test_all_addresses_of_a_name_are_servers(monkeypatch, caplog):
    addresses = ["127.0.0.1", "127.0.0.2"]

    def resolve(host, port, **_):
        assert host == "engines.test"
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    async with Engine("a") as one:
        pool = build_plugin(
            Pool, "fleet", dns=f"engines.test:{one.port}", check_seconds=0, load_seconds=0
        )
        assert pool.backend.zone == "fleet"
        names = DnsAddresses(f"engines.test:{one.port}", pool.log)
        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        assert await names.read() == [f"http://{a}:{one.port}" for a in addresses]
        addresses.append("169.254.169.254")
        assert len(await names.read()) == 2, "the metadata service is no model"
        addresses.clear()
        for _ in range(3):
            assert await names.read() is None
        assert caplog.text.count("keeping the last list") == 1


async def test_a_name_of_this_machine_is_resolved_and_served():
    async with Engine("a") as one, running([], dns=f"localhost:{one.port}") as (served, pool):
        assert f"http://127.0.0.1:{one.port}" in [s.address for s in pool.backend.members.active]
        assert await server_of(served, "s") == "a"


async def test_a_name_that_does_not_resolve_at_the_start_is_an_error_of_requests(monkeypatch):
    def resolve(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    pool = build_plugin(Pool, "fleet", dns="nowhere.test:1", check_seconds=0, load_seconds=0)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    members = pool.backend.members
    await members.update(await members.addresses.read() or ())
    assert not members.active
    assert "no server is known yet" in str(pool.backend._none_left())


# ── options ──────────────────────────────────────────────────────────────────────────────────


ONE = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "set exactly one of `servers`, `dns` and `file`; none is set"),
        ({"servers": []}, "none is set"),
        ({"servers": [ONE], "dns": "a:1"}, "`servers` and `dns` is set"),
        ({"servers": [ONE, ONE + "/"]}, "listed twice: http://127.0.0.1:1"),
        ({"servers": ["http://GPU1:80", "HTTP://gpu1/"]}, "listed twice: http://gpu1"),
        ({"servers": ["https://[::1]:443", "https://[0:0::1]"]}, "listed twice: https://.::1."),
        ({"servers": ["gpu1:8000"]}, "'gpu1:8000': it must start with http"),
        ({"servers": [ONE + "/v1"]}, "must not end in `/v1`"),
        ({"servers": ["http://169.254.169.254"]}, "metadata service"),
        ({"servers": ["http://10.0.0.1:1"], "api_key": "k"}, "clear text"),
        ({"dns": "gpu:1", "api_key": "k"}, "clear text"),
        ({"dns": "http://gpu:1"}, "should be `HOST:PORT`"),
        ({"dns": "gpu:99999"}, "should be `HOST:PORT`"),
        ({"dns": "gpu"}, "should be `HOST:PORT`"),
        ({"file": "/nowhere/servers.txt"}, "there is no such file"),
        ({"file": "/dev"}, "there is no such file"),
        ({"file": "~nobody-of-this-name/servers.txt"}, "user without a home folder"),
        ({"file": "servers.txt"}, "not an absolute path"),
        ({"servers": [ONE], "kind": "tgi"}, "vllm"),
        ({"servers": [ONE], "session_header": "Authorization"}, "name of a header for ids"),
        ({"servers": [ONE], "session_header": "x y"}, "name of a header for ids"),
        ({"servers": [ONE], "server_options": {"api_key": "k"}}, "set api_key directly"),
        ({"servers": [ONE], "server_options": {"imagse": True}}, "imagse"),
        ({"servers": [ONE], "comfortable": 0}, "greater than or equal to 1"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_options_that_cannot_work_are_refused_with_the_reason(options, reason):
    with pytest.raises(ValidationError, match=reason.replace("`", ".").replace("(", ".")):
        build_plugin(Pool, "fleet", **options)


def test_an_empty_file_is_refused_at_the_start(tmp_path):
    path = tmp_path / "servers.txt"
    path.write_text("# none yet\n")
    with pytest.raises(ValidationError, match="lists no servers; write one address per line"):
        build_plugin(Pool, "fleet", file=path)


def test_the_zone_is_this_machine_only_if_all_servers_are():
    assert build_plugin(Pool, "f", servers=[ONE]).backend.zone == "local"
    assert build_plugin(Pool, "f", servers=[ONE, "http://10.0.0.1:1"]).backend.zone == "f"
    assert build_plugin(Pool, "f", servers=["http://10.0.0.1:1"], zone="own").backend.zone == "own"
