"""For the whole repository: folders of its own for every test; slow tests only where asked for."""

import gc
import os
import random
import signal
import sys
from itertools import count
from pathlib import Path

import hypothesis
import platformdirs
import pytest

from plugway.testing import ScriptedUpstream, checking, postgresql_server, redis_server
from plugway_log import _secrets
from tests.e2e import claude
from tests.slow import SLOW

HERE = Path(__file__).parent
HELPERS = (*HERE.glob("plugins/*/tests"), HERE / "plugins/openai-wire/tests/responses")
sys.path += map(str, HELPERS)  # modules beside the tests of a plugin are imported by their name
TRANSLATING = (
    HERE / "tests/e2e/test_four_apis.py",
    *(HERE / "tests" / name for name in ("wire", "receipts")),
    *(
        HERE / "plugins" / name / "tests"
        for name in (
            *("gemini", "openai", "openai-api", "openai-compatible", "toolbelt"),
            *("anthropic", "anthropic-compatible"),
        )
    ),
)
"""Where what reaches an upstream must be what its vendor takes."""
# A busy machine is no fault of the code.
SLOWNESS = (hypothesis.HealthCheck.too_slow,)
hypothesis.settings.register_profile("plugway", deadline=None, suppress_health_check=SLOWNESS)
hypothesis.settings.load_profile("plugway")
_numbers = count()


# A shell without job control lets its background jobs ignore Ctrl-C, and programs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Workers find the same tests only where sets have the same order in each."""
    if config.getoption("numprocesses", 0):
        os.environ.setdefault("PYTHONHASHSEED", str(random.randrange(2**32)))


def pytest_collection_modifyitems(items):
    if SLOW:
        return
    skip = pytest.mark.skip(reason="slow; set PLUGWAY_SLOW=1")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


def pytest_collectstart():
    gc.disable()  # until all tests are found


def pytest_collection_finish():
    _keep_objects()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is None or nextitem.path != item.path:
        _keep_objects()


def _keep_objects():
    """A garbage collection in a test goes through what its file has made, not through millions of
    objects of pytest and of imported packages, which takes seconds."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc):
    """A test that can start Claude Code runs with the newest version; one of the core with each."""
    if not {"Claude", "claude_binary"} & vars(metafunc.module).keys():
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    every = "core" in marks or SLOW
    metafunc.fixturenames.insert(0, "claude_version")
    versions = claude.VERSIONS if every else claude.VERSIONS[-1:]
    metafunc.parametrize("claude_version", versions, indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """What a test said goes from its worker to the one that reports as UTF-8."""
    report = yield
    report.sections = [
        (name, said.encode(errors="backslashreplace").decode()) for name, said in report.sections
    ]
    return report


@pytest.fixture(autouse=True)
def strict_upstreams(request):
    """What reaches an upstream is what its vendor takes, but for rules that `lenient` names.

    Keys are a matter of configuration: many tests here have none.
    """
    if not any(request.path.is_relative_to(folder) for folder in TRANSLATING):
        yield
        return
    marks = request.node.iter_markers("lenient")
    with checking(without=["key_header", *(name for mark in marks for name in mark.args)]) as found:
        yield
    assert not found, "an upstream would have refused what a test here made it get"


@pytest.fixture
def claude_version(request):
    with claude.version_of_claude(request.param):
        yield


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory, monkeypatch):
    """What a test writes or learns reaches neither the user's folders nor the next test.

    The folder is made by who writes to it: `tmp_path` would list its siblings for every test.
    """
    folder = tmp_path_factory.getbasetemp() / f"user-{next(_numbers)}"
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))


@pytest.fixture(autouse=True)
def own_secrets(monkeypatch):
    """The key of one test is an ordinary word in the texts of the next."""
    for name in ("_known", "_passing"):
        monkeypatch.setattr(_secrets, name, dict(getattr(_secrets, name)))
    for name in ("_secrets", "_cores"):
        monkeypatch.setattr(_secrets, name, getattr(_secrets, name))


@pytest.fixture
async def server():
    """An upstream that answers as a test scripts it; some tests have one that always answers."""
    async with ScriptedUpstream() as found:
        yield found


@pytest.fixture
def state_folder():
    """Where plugins keep what they remember; not made yet."""
    return platformdirs.user_state_path("plugway", appauthor=False)


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL server (`plugway.testing.PostgresServer`); tests share it."""
    with postgresql_server() as server:
        yield server


@pytest.fixture(scope="session")
def shared_redis():
    with redis_server() as server:
        yield server


@pytest.fixture
def redis(shared_redis):
    """A real Redis server without keys (`plugway.testing.RedisServer`)."""
    shared_redis.clear()
    return shared_redis


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """Options of `store` for an empty database; a test with it runs with each kind."""
    if request.param == "sqlite":
        return {"url": str(tmp_path / "store.db")}
    return request.getfixturevalue("postgres").database()
