import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import orjson
import psutil
import pytest

from plugway import BackendUnavailable, StreamInterrupted
from plugway_local_engine import Limits, Supervisor, WorkerSpec

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent
QUICK = Limits(silence=1.0, cancel=0.4, delays=(0.05,), crashes=3)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def fake_engine_on_the_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("SECRET_API_KEY", "canary")


@asynccontextmanager
async def worker(tmp_path, limits=QUICK, **config):
    spec = WorkerSpec("test", "fake_engine:main", config, tmp_path / "worker.log", limits)
    supervisor = Supervisor(spec)
    try:
        with anyio.fail_after(20):
            yield supervisor
    finally:
        await supervisor.aclose()


async def do(supervisor, what, **more):
    return await supervisor.call({"op": "do"}, orjson.dumps({"what": what, **more}))


async def frames_of(call):
    try:
        return [frame async for frame in call]
    finally:
        await call.aclose()


async def answered(supervisor):
    """As a client does: ask again when told that the engine is overloaded."""
    while True:
        try:
            return await frames_of(await do(supervisor, "echo", pieces=[]))
        except BackendUnavailable as error:
            if error.status != 529 or error.permanent:
                raise


async def gone(pid):
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await anyio.sleep(0.01)


async def test_a_request_is_answered_frame_by_frame(tmp_path):
    async with worker(tmp_path) as supervisor:
        frames = await frames_of(await do(supervisor, "echo", pieces=["a", "b"]))
    assert [f.header.get("piece") for f in frames] == ["a", "b", None]
    assert orjson.loads(frames[-1].body)["what"] == "echo"


async def test_the_worker_sees_no_secret_and_has_its_own_session(tmp_path):
    async with worker(tmp_path) as supervisor:
        info = await supervisor.ready()
        assert "SECRET_API_KEY" not in info["environment"]
        assert os.getsid(info["pid"]) == info["pid"] != os.getsid(0)


async def test_what_a_library_prints_goes_to_the_log(tmp_path):
    async with worker(tmp_path) as supervisor:
        await frames_of(await do(supervisor, "print"))
    assert "noise on stdout" in (tmp_path / "worker.log").read_text()


async def test_requests_at_once_get_their_own_frames(tmp_path):
    async with worker(tmp_path) as supervisor:
        calls = [await do(supervisor, "echo", pieces=[n] * 20) for n in range(20)]
        for number, call in enumerate(calls):
            pieces = [f.header["piece"] for f in await frames_of(call) if "piece" in f.header]
            assert pieces == [number] * 20


async def test_death_before_the_first_word_is_overload(tmp_path):
    async with worker(tmp_path) as supervisor:
        with pytest.raises(BackendUnavailable) as caught:
            await frames_of(await do(supervisor, "die"))
        assert caught.value.status == 529
        assert not caught.value.permanent
        assert "SIGKILL" in caught.value.message


async def test_what_a_library_said_before_it_gave_up_is_the_reason(tmp_path):
    said = "ggml.c:12: GGML_ASSERT(n > 0) failed"
    async with worker(tmp_path) as supervisor:
        with pytest.raises(BackendUnavailable) as caught:
            await frames_of(await do(supervisor, "abort", text=f"loading\n{said}\nframe #1"))
        assert caught.value.message.endswith(f"(signal SIGABRT): {said}")
        await answered(supervisor)
        with pytest.raises(BackendUnavailable) as caught:
            await frames_of(await do(supervisor, "abort", text="the words of a prompt"))
        assert caught.value.message.endswith("(signal SIGABRT)")


async def test_death_in_mid_stream_is_an_interruption_for_that_request_only(tmp_path):
    async with worker(tmp_path) as supervisor:
        waiting = await do(supervisor, "wait")
        call = await do(supervisor, "die", pieces=["a"])
        call.begun = True
        with pytest.raises(StreamInterrupted):
            await frames_of(call)
        with pytest.raises(BackendUnavailable):
            await frames_of(waiting)
        assert await answered(supervisor)


async def test_an_engine_that_raises_says_why(tmp_path):
    async with worker(tmp_path) as supervisor:
        with pytest.raises(BackendUnavailable, match="EngineFailed: as told"):
            await frames_of(await do(supervisor, "fail"))


async def test_what_an_engine_did_not_foresee_is_told_without_its_text(tmp_path):
    async with worker(tmp_path) as supervisor:
        with pytest.raises(BackendUnavailable, match="RuntimeError") as caught:
            await frames_of(await do(supervisor, "raise", text="in whose words"))
    said = str(caught.value) + (tmp_path / "worker.log").read_text()
    assert "RuntimeError" in said
    assert "in whose words" not in said


async def test_three_crashes_switch_it_off_until_reset(tmp_path):
    async with worker(tmp_path) as supervisor:
        for _ in range(3):
            with pytest.raises(BackendUnavailable):
                await frames_of(await do(supervisor, "die"))
        with pytest.raises(BackendUnavailable, match=r"worker\.log") as caught:
            await supervisor.ready()
        assert caught.value.permanent
        assert supervisor.state == "quarantined"
        supervisor.reset()
        assert await frames_of(await do(supervisor, "echo", pieces=[]))


async def test_a_load_that_fails_is_told_and_no_crash(tmp_path):
    async with worker(tmp_path, refuse="no such file: x.gguf") as supervisor:
        for _ in range(4):
            with pytest.raises(
                BackendUnavailable, match=r"no such file: x\.gguf\. Its log: .*worker\.log"
            ) as caught:
                await supervisor.ready()
            assert caught.value.permanent
        assert not supervisor.crashes


async def test_a_silent_worker_with_work_is_killed(tmp_path):
    async with worker(tmp_path) as supervisor:
        call = await do(supervisor, "freeze")
        with pytest.raises(BackendUnavailable):
            await frames_of(call)


async def test_a_worker_whose_loop_does_not_turn_is_killed_though_its_threads_live(tmp_path):
    async with worker(tmp_path) as supervisor:
        with pytest.raises(BackendUnavailable):
            await frames_of(await do(supervisor, "beatless"))


async def test_a_silent_worker_without_work_is_left_alone(tmp_path):
    async with worker(tmp_path, Limits(silence=0.2)) as supervisor:
        await supervisor.ready()
        pid = supervisor.pid
        await anyio.sleep(0.6)
        assert supervisor.pid == pid


async def test_closing_a_call_cancels_it_and_the_worker_lives_on(tmp_path):
    async with worker(tmp_path) as supervisor:
        call = await do(supervisor, "wait")
        pid = supervisor.pid
        await call.aclose()
        await call.aclose()
        await anyio.sleep(0.6)
        assert supervisor.pid == pid
        assert supervisor.busy == 0


async def test_a_request_that_does_not_stop_costs_the_worker_its_life(tmp_path):
    async with worker(tmp_path) as supervisor:
        call = await do(supervisor, "stubborn")
        pid = supervisor.pid
        await call.aclose()
        await gone(pid)
        assert await answered(supervisor)


async def test_a_broken_protocol_ends_the_worker(tmp_path):
    async with worker(tmp_path) as supervisor:
        with pytest.raises(BackendUnavailable, match="protocol"):
            await frames_of(await do(supervisor, "babble"))


async def test_a_slow_reader_makes_the_worker_pause_that_request(tmp_path):
    async with worker(tmp_path) as supervisor:
        call = await do(supervisor, "many", count=400)
        await anyio.sleep(0.2)
        told = []
        async for frame in call:
            if "told" in frame.header:
                told.append(frame.header["told"])
            if told == ["pause", "resume"]:
                break
        await call.aclose()


async def test_killing_it_in_every_state_hangs_nobody(tmp_path):
    async with worker(tmp_path, Limits(delays=(0.05,), crashes=99)) as supervisor:
        for delay in (0.0, 0.02, 0.1, 0.3, 0.5):
            supervisor.start()
            await anyio.sleep(delay)
            if supervisor.pid:
                os.kill(supervisor.pid, signal.SIGKILL)
            await supervisor.ready()
        assert await answered(supervisor)


async def test_stopping_ends_the_process_and_its_calls(tmp_path):
    async with worker(tmp_path) as supervisor:
        call = await do(supervisor, "wait")
        pid = supervisor.pid
        await supervisor.aclose()
        await gone(pid)
        with pytest.raises(BackendUnavailable):
            await frames_of(call)


async def test_the_worker_reaches_no_network_or_says_so(tmp_path):
    async with (
        worker(tmp_path) as supervisor,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
    ):
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        (frame,) = await frames_of(await do(supervisor, "connect", port=port))
        refused = "keeps access to the network" in (tmp_path / "worker.log").read_text()
        assert frame.header["said"] == ("connected" if refused else "Network is unreachable")


NOBODY = """
import ctypes, os, socket, sys, tempfile
from plugway_local_engine import _boot
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE, as after an exec: else /proc/self is root's
reason = _boot.cut_network()
try:
    socket.socket().connect(("127.0.0.1", int(sys.argv[1])))
except OSError as error:
    print(error.strerror)
else:
    print("connected" if reason else "connected without a reason")
with tempfile.TemporaryFile() as file:
    print(os.getuid(), os.fstat(file.fileno()).st_uid)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root can become somebody else"
)
async def test_a_worker_without_rights_reaches_no_network_and_stays_who_it_is():
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        done = await anyio.run_process([sys.executable, "-c", NOBODY, str(port)])
    reached, users = done.stdout.decode().splitlines()
    assert reached in ("Network is unreachable", "connected")
    assert users == "65534 65534"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
async def test_the_worker_dies_with_its_parent(tmp_path):
    code = (
        "import anyio, os, sys\n"
        "from pathlib import Path\n"
        "from plugway_local_engine import Supervisor, WorkerSpec\n"
        "async def main():\n"
        f"    s = Supervisor(WorkerSpec('t', 'fake_engine:main', {{}}, Path({str(tmp_path / 'l')!r})))\n"
        "    info = await s.ready()\n"
        "    print(info['pid'], flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
        "anyio.run(main)\n"
    )
    with anyio.fail_after(20):
        done = await anyio.run_process([sys.executable, "-c", code], check=False)
        await gone(int(done.stdout))
