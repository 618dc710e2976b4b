"""Secret references: fetched from where they point, named but never shown when that fails."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
from pydantic import Field

from plugway.config import keyring as _keyring
from plugway.config.document import Document, read_document
from plugway.config.keyring import KEYRINGS, Keyring, store_command, system_keyrings
from plugway.config.options import build_options
from plugway.config.secrets import Resolution, resolve
from plugway.log import redact
from plugway.types.errors import BackendProtocolError, PlugwayError
from plugway.types.options import Options, Secret
from plugway.upstream import origins as _origins
from plugway.upstream.origins import StoredKey, origin_of
from plugway.upstream.upstream import Upstream

posix = pytest.mark.skipif(os.name == "nt", reason="file modes")


def resolved(text: str, folder: Path | None = None) -> Resolution:
    document = read_document(text, "c.yaml", folder)
    return resolve(document.value, document, ())


def the_problem(text: str, folder: Path | None = None) -> str:
    (problem,) = resolved(text, folder).problems
    return str(problem)


def secret_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_references_are_replaced_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "from-env")
    secret_file(tmp_path, b"from-file\n")
    text = "{a: {$env: TEST_KEY}, b: [{c: {$file: key}}, plain], d: {e: 1}}"
    result = resolved(text, tmp_path)
    assert result.value == {"a": "from-env", "b": [{"c": "from-file"}, "plain"], "d": {"e": 1}}
    assert result.problems == []


def test_a_mapping_that_is_no_reference_is_left_alone() -> None:
    text = "{a: {$schema: x, type: y}, b: {$ref: z}, c: {env: TEST}}"
    assert resolved(text).value == {
        "a": {"$schema": "x", "type": "y"},
        "b": {"$ref": "z"},
        "c": {"env": "TEST"},
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {$env: TEST_UNSET}", "c.yaml:1:1: `a`: the environment variable `TEST_UNSET` is not"),
        ("a: {$env: TEST_EMPTY}", "`TEST_EMPTY` is empty"),
        ("a: {$env: TEST_BROKEN}", "contains a line break or a NUL"),
        ("a: {$env: X, $file: y}", "`$env` must stand alone, not beside `$file`"),
        ("a: {$env: X, default: y}", "not beside `default`"),
        ("a: {$env: }", "`$env` needs a name"),
        ("a: {$env: [X]}", "`$env` needs a name"),
        ("a: {$evn: X}", "did you mean `$env`?"),
        ("a: {$keyrng: X}", "did you mean `$keyring`?"),
        ("a: {$file: key}", "`key` is not an absolute path"),
        ("a: {$file: /no/such/file}", "there is no file `/no/such/file`"),
    ],
)
def test_a_reference_that_cannot_be_resolved_is_named_at_its_place(
    text: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_EMPTY", "")
    monkeypatch.setenv("TEST_BROKEN", "one\r\ntwo-secret")
    problem = the_problem(text)
    assert words in problem
    assert "two-secret" not in problem


@posix
def test_a_file_that_others_can_read_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    path = secret_file(tmp_path, b"hidden-value", 0o644)
    problem = the_problem(f"a: {{$file: {path}}}")
    assert f"is open to every user (mode 0644) - run `chmod 600 {path}`" in problem
    assert "hidden-value" not in problem


@posix
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the secret is empty"),
        (b"\n", "the secret is empty"),
        (b"one\ntwo\n", "a line break"),
        (b"nul\0nul", "a NUL"),
        (b"\xff\xfe", "not UTF-8"),
        (b"x" * 70_000, "larger than 64 KiB"),
    ],
)
def test_a_file_without_one_usable_line_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    assert words in the_problem(f"a: {{$file: {secret_file(tmp_path, content)}}}")


@posix
def test_a_pipe_as_secret_file_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "not a regular file" in the_problem(f"a: {{$file: {tmp_path / 'pipe'}}}")


def test_what_was_fetched_is_in_no_representation_and_in_no_log_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_KEY", "a-very-special-value")
    result = resolved("a: {$env: TEST_KEY}")
    assert "special" not in repr(result)
    assert redact("header a-very-special-value end") == "header *** end"


# ── options ────────────────────────────────────────────────────────────────────────────────────


class Inner(Options):
    key: Secret


class SecretOptions(Options):
    api_key: Secret | None = None
    keys: dict[str, Secret] = Field(default_factory=dict)
    more: tuple[Inner, ...] = ()
    text: str | Secret = ""
    number: int = 0


def problems_of(text: str, instance: str = "cloud") -> list[str]:
    document = read_document(text, "c.yaml")
    built = build_options(SecretOptions, document.value, document, (), instance=instance)
    assert (built.options is None) == bool(built.problems)
    return [str(problem) for problem in built.problems]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("api_key: sk-plain-text", "api_key"),
        ("keys: {a: sk-plain-text}", "keys.a"),
        ("more: [{key: sk-plain-text}]", "more[0].key"),
    ],
)
def test_a_key_written_out_is_refused_with_the_way_to_store_it(text: str, path: str) -> None:
    (problem,) = problems_of(text)
    assert f"`{path}`: a secret is written out in the file" in problem
    assert "`{$env: NAME}`" in problem
    assert f"run `{store_command('cloud')}` and write `{{$keyring: cloud}}`" in problem
    assert "sk-plain-text" not in problem


def test_text_may_be_written_out_where_it_need_not_be_a_secret() -> None:
    assert problems_of("{text: hello, api_key: '', keys: {}}") == []


def test_a_secret_reaches_the_options_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "the-real-key")
    document = read_document("{api_key: {$env: TEST_KEY}, number: 3}", "c")
    options = build_options(SecretOptions, document.value, document, ()).options
    assert options is not None
    assert options.api_key is not None
    assert options.api_key.get_secret_value() == "the-real-key"
    assert "the-real-key" not in repr(options)


def test_a_missing_secret_and_other_mistakes_are_told_together_and_once() -> None:
    found = problems_of("{api_key: {$env: TEST_UNSET}, number: {$env: TEST_UNSET}, nmber: 1}")
    assert len(found) == 3
    assert sum("`TEST_UNSET` is not set" in problem for problem in found) == 2
    assert sum("did you mean `number`?" in problem for problem in found) == 1


def test_a_validation_message_does_not_repeat_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "no-number-but-secret")
    (problem,) = problems_of("number: {$env: TEST_KEY}")
    assert "no-number" not in problem


# ── the keyring ────────────────────────────────────────────────────────────────────────────────


class FakeStore:
    priority = 5.0
    keys: ClassVar[dict[str, str]] = {}
    wait = threading.Event()

    def get_password(self, service: str, name: str) -> str | None:
        assert service == "plugway"
        if name == "slow":
            self.wait.wait(5)
        if name == "broken":
            raise RuntimeError("the desktop says hidden-value")
        return self.keys.get(name)


class SecondStore(FakeStore):
    priority = 2.0
    keys: ClassVar[dict[str, str]] = {"other": "second-value"}


class UnfitStore(FakeStore):
    priority = 0.5

    def get_password(self, service: str, name: str) -> str | None:
        raise AssertionError("must not be asked")


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("fake_keyrings")
    FakeStore.keys = {"cloud": "stored-value"}
    for store in (UnfitStore, SecondStore, FakeStore):
        setattr(module, store.__name__, store)
    monkeypatch.setitem(sys.modules, "fake_keyrings", module)
    names = tuple(f"fake_keyrings.{name}" for name in ("UnfitStore", "SecondStore", "FakeStore"))
    monkeypatch.setattr(_keyring, "KEYRINGS", (*names, "fake_keyrings.Absent", "no_module.Here"))
    monkeypatch.setattr(_keyring, "_stuck_since", float("-inf"))
    yield
    FakeStore.wait.set()


@pytest.mark.usefixtures("stores")
def test_the_stores_of_the_system_are_asked_in_their_order_of_preference() -> None:
    assert [type(store) for store in system_keyrings()] == [FakeStore, SecondStore]
    assert resolved("a: {$keyring: cloud}").value == {"a": "stored-value"}
    assert resolved("a: {$keyring: other}").value == {"a": "second-value"}


@pytest.mark.usefixtures("stores")
def test_an_absent_key_is_told_with_the_command_that_stores_it() -> None:
    problem = the_problem("a: {$keyring: nothing}")
    assert f"holds no `nothing` - run `{store_command('nothing')}`" in problem


@pytest.mark.usefixtures("stores")
def test_a_store_that_fails_is_named_without_its_words() -> None:
    problem = the_problem("a: {$keyring: broken}")
    assert "did not answer" in problem
    assert "RuntimeError" in problem
    assert "hidden-value" not in problem


@pytest.mark.usefixtures("stores")
def test_a_locked_keyring_is_given_up_in_time_and_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_keyring, "KEYRING_SECONDS", 0.2)
    FakeStore.wait.clear()
    start = time.monotonic()
    result = resolved("[{$keyring: slow}, {$keyring: slow}, {$keyring: slow}]")
    assert time.monotonic() - start < 0.4
    assert len(result.problems) == 3
    assert all("did not answer within 0.2 s" in str(problem) for problem in result.problems)


@pytest.fixture
def writable(stores: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeStore]]:
    def set_password(self: FakeStore, service: str, name: str, text: str) -> None:
        self.keys[name] = text

    def delete_password(self: FakeStore, service: str, name: str) -> None:
        del self.keys[name]

    monkeypatch.setattr(FakeStore, "set_password", set_password, raising=False)
    monkeypatch.setattr(FakeStore, "delete_password", delete_password, raising=False)
    yield FakeStore
    _origins._bound.clear()


def test_a_key_goes_to_its_origin_and_nowhere_else(writable: type[FakeStore]) -> None:
    Keyring().write("work", StoredKey("k-0123456789", "https://api.example.com"))
    assert resolved("a: {$keyring: work}").value == {"a": "k-0123456789"}
    line = {"authorization": "Bearer k-0123456789"}
    Upstream("https://api.example.com:443/v2", credentials=line)
    for url in ("http://api.example.com", "https://api.example.com:8443", "https://example.com"):
        with pytest.raises(PlugwayError, match=r"stored for https://api\.example\.com") as caught:
            Upstream(url, credentials=line)
        assert "k-0123456789" not in str(caught.value)


@pytest.mark.anyio
async def test_a_bound_key_given_for_one_request_is_held_to_its_origin_too(
    writable: type[FakeStore],
) -> None:
    Keyring().write("work", StoredKey("k-0123456789", "https://api.example.com"))
    async with Upstream("http://127.0.0.1:9") as upstream:
        with pytest.raises(BackendProtocolError, match=r"is not sent to http://127\.0\.0\.1:9"):
            await upstream.request("GET", "/", credentials={"x-api-key": "k-0123456789"})


def test_a_key_stored_anew_for_another_place_goes_there_only(writable: type[FakeStore]) -> None:
    for origin in ("https://one.example", "https://two.example"):
        Keyring().write("work", StoredKey("k-0123456789", origin))
    assert Keyring().read("work") == StoredKey("k-0123456789", "https://two.example")
    Upstream("https://two.example", credentials={"x-api-key": "k-0123456789"})
    with pytest.raises(PlugwayError):
        Upstream("https://one.example", credentials={"x-api-key": "k-0123456789"})


def test_a_store_that_forgets_what_it_took_is_found_out(
    writable: type[FakeStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeStore, "set_password", lambda *_: None)
    with pytest.raises(PlugwayError, match="did not give it back"):
        Keyring().write("work", StoredKey("k-0123456789"))


def test_a_deleted_key_is_gone(writable: type[FakeStore]) -> None:
    Keyring().write("work", StoredKey("k-0123456789"))
    assert Keyring().delete("work")
    assert Keyring().read("work") is None
    assert not Keyring().delete("work")


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://api.example.com/v1?x=1", "https://api.example.com"),
        ("HTTPS://API.Example.com.:443", "https://api.example.com"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://user@api.example.com", "https://api.example.com"),
        ("ftp://example.com", ""),
        ("https://example.com:port", ""),
        ("example.com", ""),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


def test_only_stores_of_systems_and_desktops_are_on_the_list() -> None:
    assert all(name.startswith("keyring.backends.") for name in KEYRINGS)
    assert not any("null" in name or "fail" in name or "chainer" in name for name in KEYRINGS)


def test_a_store_chosen_by_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("keyring")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/no/such/bus")
    modules = {type(store).__module__ for store in system_keyrings()}
    assert modules <= {name.rpartition(".")[0] for name in KEYRINGS}


def test_a_missing_keyring_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr(_keyring, "_stuck_since", float("-inf"))
    assert "pip install keyring" in the_problem("a: {$keyring: x}")


@pytest.mark.usefixtures("stores")
def test_a_machine_without_a_trusted_keyring_says_what_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_keyring, "KEYRINGS", ())
    assert "use `{$env: NAME}` or `{$file: PATH}`" in the_problem("a: {$keyring: x}")


def test_a_document_without_positions_still_names_the_file() -> None:
    assert Document("c.yaml").position(("a", 0)) == "c.yaml"


def test_a_key_may_be_read_while_requests_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_origins, "_bound", {})
    text = _keyring._encoded(StoredKey("key-of-one-place", "https://one.test"))
    for name in ("a", "b"):
        _keyring._remembered(name, text)
    checked = iter(_origins._bound.values())
    assert next(checked).origin == "https://one.test"
    _keyring._remembered("a", "another, for anywhere")
    _keyring._remembered("c", text)
    assert len(list(checked)) == 1
    assert _origins.misdirected("https://two.test", {"x": "key-of-one-place"})
    assert not _origins.misdirected("https://one.test", {"x": "key-of-one-place"})
