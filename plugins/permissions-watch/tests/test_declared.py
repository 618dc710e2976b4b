"""What a package declares, compared with what it uses."""

from __future__ import annotations

import asyncio
import sys

import pytest

from plugway import Secret
from plugway.testing import FeatureContract
from plugway_packages import parse_permissions
from plugway_permissions_watch import PermissionsWatch
from plugway_permissions_watch._declared import Declared
from plugway_permissions_watch._events import READERS, Use, uses
from plugway_permissions_watch._owners import Owners
from plugway_permissions_watch._watch import MOST_SEEN, Watch, in_words

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = PermissionsWatch


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "moved"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def declared(text, *options, own=()):
    return Declared(parse_permissions(text.encode()), options, own, python=("/python",))


@pytest.mark.parametrize(
    ("patterns", "host", "allowed"),
    [
        ('["api.example.com"]', "api.example.com", True),
        ('["api.example.com"]', "api.example.com.evil.net", False),
        ('["api.example.com"]', "xapi.example.com", False),
        ('["*.example.com"]', "deep.api.example.com", True),
        ('["*.example.com"]', "example.com", False),
        ('["*"]', "anything.net", True),
        ('["[::1]"]', "::1", True),
        ('["{base_url}"]', "models.example", True),
        ('["{base_url}"]', "other.example", False),
        ('["{missing}"]', "models.example", False),
        ('["{servers}"]', "second.example", True),
        ("[]", "api.example.com", False),
    ],
)
def test_hosts(home, patterns, host, allowed):
    options = {
        "base_url": "https://Models.Example:8443/v1",
        "servers": {"a": ["http://first.example"], "b": ["second.example"]},
    }
    assert declared(f"hosts = {patterns}", options).allows(Use("host", host)) is allowed


def test_an_address_counts_as_its_names(home):
    one = declared('hosts = ["api.example.com"]')
    assert not one.allows(Use("host", "192.0.2.1"))
    assert one.allows(Use("host", "192.0.2.1"), ("other.example", "api.example.com"))


def test_the_proxy_of_the_environment_is_allowed(home, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert declared("hosts = []").allows(Use("host", "proxy.example"))


@pytest.mark.parametrize(
    ("path", "access", "allowed"),
    [
        ("mine/a.txt", "writes", True),
        ("mine", "writes", True),
        ("mine-too/a.txt", "writes", False),
        ("mine/../other/a.txt", "reads", False),
        ("mine/link/a.txt", "reads", False),
        ("moved/x/a.txt", "writes", True),
        (".cache/x/a.txt", "writes", False),
        ("given/a.txt", "writes", True),
        ("deep", "makes", True),
        ("deep", "writes", False),
        ("other", "makes", False),
        ("package/a.txt", "reads", True),
        ("package/a.txt", "writes", False),
        ("/python/lib/os.py", "reads", True),
        ("/python/lib/os.py", "writes", False),
        ("/etc/passwd", "reads", False),
        ("/etc/ssl/cert.pem", "reads", True),
        ("/dev/null", "writes", True),
    ],
)
def test_files(home, path, access, allowed):
    for name in ("mine", "outside", "package"):
        (home / name).mkdir()
    (home / "mine" / "link").symlink_to(home / "outside")
    text = 'files = ["~/mine", "~/.cache/x", "~/deep/er", "{folder}"]'
    one = declared(text, {"folder": home / "given"}, own=[str(home / "package")])
    assert one.allows(Use("file", str(home / path), access)) is allowed


@pytest.mark.parametrize(
    ("patterns", "program", "allowed"),
    [
        ('["git"]', "/usr/bin/git", True),
        ('["git"]', "git.exe", True),
        ('["/usr/bin/git"]', "/tmp/git", False),
        ('["git"]', "gitk", False),
        ('["*"]', "anything", True),
        ('["{program}"]', "/opt/engine", True),
        ("[]", "git", False),
    ],
)
def test_processes(home, patterns, program, allowed):
    one = declared(f"processes = {patterns}", {"program": "/opt/engine"})
    assert one.allows(Use("process", program)) is allowed


@pytest.mark.parametrize("value", ["", None, Secret("sk-1"), 3, [], {}])
def test_an_option_that_names_nothing_allows_nothing(home, value):
    one = declared('hosts = ["{o}"]\nfiles = ["{o}"]\nprocesses = ["{o}"]', {"o": value})
    for use in (Use("host", "h"), Use("file", "/etc/passwd"), Use("process", "git")):
        assert not one.allows(use)


def greedy_watch(owner="greedy", declare=True):
    watch = Watch(Owners({__file__: owner}), lambda: None)
    if declare:
        watch.declare({"greedy": declared("hosts = []")})
    return watch


def test_the_running_watch_goes_on_while_another_configuration_fails_to_load(home):
    running = greedy_watch()
    running.start()
    try:
        for number in range(3):
            greedy_watch(declare=False).start()
            sys.audit("socket.connect", None, (f"host-{number}", 1))
        assert [f"connected to `host-{number}`" for number in range(3)] == list(
            running.seen["greedy"]
        )
        after = greedy_watch(declare=False)
        after.start()
        after.declare({"greedy": declared('hosts = ["host-4"]')})
        running.stop()
        sys.audit("socket.connect", None, ("host-3", 1))
        sys.audit("socket.connect", None, ("host-4", 1))
        assert list(after.seen["greedy"]) == ["connected to `host-3`"]
        assert len(running.seen["greedy"]) == 3
    finally:
        after.stop()


async def test_reloads_do_not_add_up():
    loop = asyncio.get_running_loop()
    try:
        for _ in range(5):
            greedy_watch().owners.follow(loop)
        assert not isinstance(loop.get_task_factory().inner, type(loop.get_task_factory()))
        assert await asyncio.create_task(asyncio.sleep(0, "done")) == "done"
    finally:
        loop.set_task_factory(None)


def test_an_event_with_any_arguments_stops_nothing(home):
    watch = Watch(Owners({__file__: "greedy"}), lambda: None)
    watch.declare({"greedy": declared("hosts = []")})
    watch.start()
    try:
        for event in READERS:
            for argument in (None, 3, "x", b"\xff", (), ("h", 1), [], {}, object()):
                for count in range(6):
                    sys.audit(event, *[argument] * count)
    finally:
        watch.stop()
    assert "connected to `h`" in watch.seen["greedy"]


@pytest.mark.parametrize(
    ("event", "args", "expected"),
    [
        ("open", ("/a", "r", 0), Use("file", "/a")),
        ("open", ("/a", "a+", 0), Use("file", "/a", "writes")),
        ("open", ("/a", None, 0o101), Use("file", "/a", "writes")),
        ("socket.connect", (None, ("Host", 1)), Use("host", "host")),
        ("socket.connect", (None, "/run/x.sock"), Use("file", "/run/x.sock", "writes")),
        ("socket.sendto", (None, ("192.0.2.1", 53)), Use("host", "192.0.2.1")),
        ("subprocess.Popen", (None, ["git", "x"], None, None), Use("process", "git")),
        ("os.system", (b"git push",), Use("process", "sh")),
        ("sqlite3.connect", ("/a.db",), Use("file", "/a.db", "writes")),
    ],
)
def test_events(event, args, expected):
    assert list(uses(event, args)) == [expected]


@pytest.mark.parametrize("args", [(3, "r", 0), (":memory:",)])
def test_descriptors_and_databases_in_memory_are_no_files(args):
    assert list(uses("open" if len(args) == 3 else "sqlite3.connect", args)) == []


def test_a_report_names_the_folder_of_a_file_and_nothing_that_could_break_a_line(home):
    assert in_words(Use("file", str(home / "a" / "secret.txt"))) == "read from `~/a`"
    assert in_words(Use("process", "/bin/x\n`y`")) == "started `x??y?`"
    assert len(in_words(Use("host", "h" * 5000))) < 300


def test_a_package_that_uses_more_and_more_is_reported_up_to_a_limit(home):
    reports = []
    watch = Watch(None, lambda: reports.append(1))
    watch.declare({"greedy": declared("hosts = []")})
    for number in range(10 * MOST_SEEN):
        watch._judge("greedy", Use("host", f"{number}.example"))
    assert len(watch.seen["greedy"]) == len(reports) == MOST_SEEN
