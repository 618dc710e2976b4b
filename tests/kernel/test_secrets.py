"""Secret references: fetched from where they point, named but never shown when that fails."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

import pytest
from pydantic import Field

from plugway.config import key_store
from plugway.config.approval import approve
from plugway.config.document import Document, read_document
from plugway.config.key_store import store_command
from plugway.config.options import build_options
from plugway.config.secrets import Resolution, resolve
from plugway.types.options import Options, Secret
from plugway.upstream import origins as _origins
from plugway.upstream.origins import StoredKey, origin_of, remember_key
from plugway.upstream.upstream import Upstream
from plugway_log import redact
from plugway_wire.errors import BackendProtocolError, PlugwayError

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
        ("a: {$env: X, $file: y}", "`$env` cannot be combined with `$file`"),
        ("a: {$env: X, default: y}", "cannot be combined with `default`"),
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
    assert f"is accessible to every user (mode 0644) - run `chmod 600 {path}`" in problem
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
    assert f"`{path}`: a secret is in plain text in the file" in problem
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


# ── the key store ──────────────────────────────────────────────────────────────────────────────

STORE = """
from plugway import PlugwayError, StoredKey

KEYS = {"cloud": StoredKey("stored-value", "https://one.test"), "odd": "just text"}

def read(name):
    if name == "locked":
        raise PlugwayError("the vault is locked: open it")
    if name == "broken":
        raise RuntimeError("the desktop says hidden-value")
    return KEYS.get(name)
"""


def announce(folder: Path, package: str, points: str, code: str = STORE) -> None:
    """Put a package with these key stores into `folder`, as a wheel installs it."""
    info = folder / f"{package}-1.dist-info"
    info.mkdir(parents=True)
    (folder / f"{package}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[plugway.key_stores]\n{points}\n")


@pytest.fixture
def nothing_bound() -> Iterator[None]:
    yield
    _origins._bound.clear()


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_bound: None) -> Iterator[Path]:
    """The folder that the package `some_vault` is installed in; it brings the store `vault`."""
    folder = tmp_path / "site"
    announce(folder, "some_vault", "vault = some_vault:read")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("some_vault", None)


def from_vault(name: str) -> str:
    return f"{{server: {{key_store: vault}}, a: {{$keyring: {name}}}}}"


def test_the_store_that_the_configuration_names_is_asked(vault: Path) -> None:
    result = resolved(from_vault("cloud"))
    assert cast("dict[str, object]", result.value)["a"] == "stored-value"
    assert result.problems == []


def test_what_a_store_gives_is_held_to_its_origin_and_kept_out_of_logs(vault: Path) -> None:
    resolved(from_vault("cloud"))
    assert redact("it was stored-value") != "it was stored-value"
    with pytest.raises(PlugwayError, match=r"stored for https://one\.test"):
        Upstream("https://two.test", credentials={"x-api-key": "stored-value"})


def test_a_store_that_the_configuration_does_not_name_is_not_even_imported(
    vault: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (usual,) = entry_points(group=key_store.GROUP, name="keyring")
    monkeypatch.setattr(importlib.import_module(usual.module), "system_keyrings", list)
    assert "has no trusted keyring" in the_problem("a: {$keyring: cloud}")
    assert "some_vault" not in sys.modules


def test_no_store_is_imported_where_no_key_is_asked_for(vault: Path) -> None:
    assert resolved("{server: {key_store: vault}, a: 1}").problems == []
    assert "some_vault" not in sys.modules


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("nothing", "the vault has no entry `nothing` - store it there"),
        ("locked", "the vault is locked: open it"),
        ("broken", "the key store `vault` failed with RuntimeError"),
        ("odd", "did not return a `plugway.StoredKey`"),
    ],
)
def test_a_store_without_the_key_is_told_at_its_place(vault: Path, key: str, words: str) -> None:
    problem = the_problem(from_vault(key))
    assert words in problem
    assert "`a`" in problem
    assert "hidden-value" not in problem


def test_a_store_that_is_not_installed_is_told_with_what_brings_it() -> None:
    words = (
        "no installed package provides the key store `vault` - name another in `server.key_store`"
    )
    assert words in the_problem(from_vault("cloud"))


def test_the_usual_store_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "entry_points", lambda **_: [])
    assert "run `pip install ./plugins/keyring`" in the_problem("a: {$keyring: cloud}")
    assert store_command("a") == "pip install ./plugins/keyring && plugway keys set a"


def test_a_store_that_two_packages_claim_serves_nobody(vault: Path) -> None:
    announce(vault, "other_vault", "vault = other_vault:read")
    problem = the_problem(from_vault("cloud"))
    assert "`some_vault`" in problem
    assert "`other_vault`" in problem
    assert "some_vault" not in sys.modules


def test_a_store_that_is_not_approved_is_not_imported(vault: Path) -> None:
    approve(["plugway"])
    problem = the_problem(from_vault("cloud"))
    assert "run `plugway plugins --approve some_vault`" in problem
    assert "some_vault" not in sys.modules


def test_a_store_that_cannot_be_imported_is_told(vault: Path) -> None:
    (vault / "some_vault.py").write_text("raise SystemExit('gone')")
    assert "`vault` of `some_vault` cannot be imported: SystemExit: gone" in the_problem(
        from_vault("cloud")
    )


def test_the_name_of_a_store_is_a_word() -> None:
    assert "`server.key_store` should be" in the_problem(
        "{server: {key_store: 3}, a: {$keyring: b}}"
    )


@pytest.mark.usefixtures("nothing_bound")
def test_a_key_goes_to_its_origin_and_nowhere_else() -> None:
    remember_key("work", StoredKey("k-0123456789", "https://api.example.com"))
    line = {"authorization": "Bearer k-0123456789"}
    Upstream("https://api.example.com:443/v2", credentials=line)
    for url in ("http://api.example.com", "https://api.example.com:8443", "https://example.com"):
        with pytest.raises(PlugwayError, match=r"stored for https://api\.example\.com") as caught:
            Upstream(url, credentials=line)
        assert "k-0123456789" not in str(caught.value)


@pytest.mark.anyio
@pytest.mark.usefixtures("nothing_bound")
async def test_a_bound_key_given_for_one_request_is_held_to_its_origin_too() -> None:
    remember_key("work", StoredKey("k-0123456789", "https://api.example.com"))
    async with Upstream("http://127.0.0.1:9") as upstream:
        with pytest.raises(BackendProtocolError, match=r"is not sent to http://127\.0\.0\.1:9"):
            await upstream.request("GET", "/", credentials={"x-api-key": "k-0123456789"})


@pytest.mark.usefixtures("nothing_bound")
def test_a_key_stored_anew_for_another_place_goes_there_only() -> None:
    for origin in ("https://one.example", "https://two.example"):
        remember_key("work", StoredKey("k-0123456789", origin))
    Upstream("https://two.example", credentials={"x-api-key": "k-0123456789"})
    with pytest.raises(PlugwayError):
        Upstream("https://one.example", credentials={"x-api-key": "k-0123456789"})


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


def test_a_document_without_positions_still_names_the_file() -> None:
    assert Document("c.yaml").position(("a", 0)) == "c.yaml"


def test_a_key_may_be_read_while_requests_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_origins, "_bound", {})
    key = StoredKey("key-of-one-place", "https://one.test")
    for name in ("a", "b"):
        remember_key(name, key)
    checked = iter(_origins._bound.values())
    assert next(checked).origin == "https://one.test"
    remember_key("a", StoredKey("another, for anywhere"))
    remember_key("c", key)
    assert len(list(checked)) == 1
    assert _origins.misdirected("https://two.test", {"x": "key-of-one-place"})
    assert not _origins.misdirected("https://one.test", {"x": "key-of-one-place"})
