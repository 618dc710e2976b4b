"""The configuration file: every mistake at its line, nothing dangerous read."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway.config.config import (
    Config,
    ExposedError,
    default_config_path,
    find_config,
    load_config,
    parse_config,
)
from plugway.config.document import MAX_VALUES, read_document
from plugway.config.settings import ServerOptions, gateway_token
from plugway.types.errors import ConfigError, Problem
from plugway_http.hosts import is_loopback_host

posix = pytest.mark.skipif(os.name == "nt", reason="file modes")


def problems_of(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "c.yaml")
    return list(caught.value.problems)


def the_problem(text: str) -> str:
    (problem,) = problems_of(text)
    return str(problem)


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, "utf-8")
    path.chmod(mode)
    return path


def test_a_small_file_becomes_typed_settings_and_ordered_entries(tmp_path: Path) -> None:
    text = """
server: {port: 9000, allowed_hosts: [box.local]}
plugins:
  - use: router
    options: {models: {"*": [local/default]}}
  - {use: echo, name: local}
"""
    config = load_config(written(tmp_path, text))
    assert config.path == tmp_path / "config.yaml"
    assert (config.server.port, config.server.allowed_hosts) == (9000, ("box.local",))
    assert [(entry.use, entry.name, entry.index) for entry in config.plugins] == [
        ("router", "router", 0),
        ("echo", "local", 1),
    ]
    assert config.plugins[0].options == {"models": {"*": ["local/default"]}}
    where = config.document.position(("plugins", 0, "options", "models", "*"))
    assert where == f"{config.path}:5:24"


def test_all_problems_are_told_at_once_in_the_order_of_the_file() -> None:
    found = problems_of(
        """server:
  prot: 1
  port: many
plugins:
  - use: echo
    nmae: x
  - echo
  - {use: a, name: Not Good}
  - {use: b, options: [1]}
  - {name: c}
extra: 1
"""
    )
    assert [(p.where, p.path) for p in found] == [
        ("c.yaml:2:3", "server.prot"),
        ("c.yaml:3:3", "server.port"),
        ("c.yaml:6:5", "plugins[0].nmae"),
        ("c.yaml:7:5", "plugins[1]"),
        ("c.yaml:8:14", "plugins[2].name"),
        ("c.yaml:9:14", "plugins[3].options"),
        ("c.yaml:10:5", "plugins[4].use"),
        ("c.yaml:11:1", "extra"),
    ]
    fixes = {p.path: p.fix for p in found}
    assert fixes["server.prot"] == "did you mean `port`?"
    assert fixes["plugins[0].nmae"] == "did you mean `name`?"
    assert fixes["plugins[1]"] == "write `- use: echo`"


def test_a_misspelt_section_gets_a_suggestion() -> None:
    assert "did you mean `plugins`?" in the_problem("plugin: []\nplugins: []")


def test_two_instances_of_one_name_are_told_with_both_places() -> None:
    problem = the_problem("plugins:\n  - use: echo\n  - use: echo\n")
    assert problem.startswith("c.yaml:3:5: `plugins[1]`")
    assert "`echo` is already used by the plugin at 2:5" in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("---\n", "the file is empty"),
        ("just words", "should be a mapping"),
        ("server: {}", "missing `plugins` section"),
        ("plugins: {use: echo}", "should be a list"),
        ("server: 3\nplugins: []", "should be a mapping of settings"),
        ("plugins: []\nplugins: []", "given twice, first in line 1"),
        ("plugins: []\n---\nplugins: []", "a second document starts here"),
        ("plugins:\n\t- use: echo\n", "a tab is used for indentation"),
        ("plugins: [\n", "not valid YAML"),
        ("plugins: []\nserver: a: b\n", "quote a value that contains `: `"),
        ("plugins: [a: !!python/object/apply:os.system [ls]]", "is not accepted"),
        ("plugins: !mine []", "the tag `!mine` is not accepted"),
        ("plugins: \x07", "control character U+0007"),
        ("plugins: *", "not valid YAML"),
        ("plugins: *x", "the alias `*x` is not defined"),
        ("plugins: &a [*a]", "the alias `*a` is not defined yet"),
        ("a: &a {b: 1}\nc: {<<: *a}\nplugins: []", "merge keys"),
        ("? [a, b]\n: c\nplugins: []", "a key must be a plain word"),
        ("[" * 100_000, "nested deeper than 50 levels"),
        ("a: " + "x" * (1 << 20), "larger than 1 MiB"),
        ("- 1\n" * (MAX_VALUES + 1), "more than 100,000 values"),
    ],
)
def test_bad_yaml_is_refused_with_a_reason(text: str, words: str) -> None:
    assert any(words in str(problem) for problem in problems_of(text))


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "aliases included" in the_problem("\n".join(lines))


def test_a_modest_alias_is_the_value_it_stands_for() -> None:
    config = parse_config(
        "plugins:\n- {use: a, options: &o {x: 1}}\n- {use: b, options: *o}\n", "c.yaml"
    )
    assert config.plugins[1].options == {"x": 1}
    assert config.document.position(("plugins", 1, "options", "x")) == "c.yaml:3:12"


def test_words_that_old_yaml_turns_into_something_else_stay_words() -> None:
    document = read_document("[no, on, 12:30, 2025-01-01, 1_000, 0123, 1e999, 'true', 5.]", "c")
    expected = ["no", "on", "12:30", "2025-01-01", "1_000", "0123", "1e999", "true", 5.0]
    assert document.value == expected
    assert read_document("[true, ~, 12, -1.5, 1e3, '']", "c").value == [
        True,
        None,
        12,
        -1.5,
        1000.0,
        "",
    ]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xef\xbb\xbfplugins: []")
    path.chmod(0o600)
    assert load_config(path).plugins == ()


def test_bytes_that_are_not_utf8_are_told_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"plugins: []\nserver: \xff\n")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"c\.yaml:2:9: not UTF-8"):
        load_config(path)


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, "#" * (10 << 20))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        load_config(path)


leaves = st.one_of(st.integers(-9999, 9999), st.text("ab é:#'\"\\\n", max_size=8), st.booleans())
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text("abc:- ", min_size=1, max_size=4), inner, max_size=4),
    ),
    max_leaves=25,
)


@settings(max_examples=150, deadline=None)
@given(trees, st.booleans())
def test_values_and_positions_agree_with_the_yaml_library(tree: object, flow: bool) -> None:
    text = yaml.safe_dump(tree, default_flow_style=flow, allow_unicode=True)
    document = read_document(text, "c")
    assert document.value == tree

    def compare(node: yaml.Node, path: tuple[str | int, ...]) -> None:
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                mark = item.start_mark
                position = document.position((*path, index))
                assert position == f"c:{mark.line + 1}:{mark.column + 1}"
                compare(item, (*path, index))
        elif isinstance(node, yaml.MappingNode):
            for key, item in node.value:
                mark = key.start_mark
                position = document.position((*path, key.value))
                assert position == f"c:{mark.line + 1}:{mark.column + 1}"
                compare(item, (*path, key.value))

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None
    compare(node, ())


@settings(max_examples=300, deadline=None)
@given(st.text("ab:-[]{}&*!|>'\"#\n\t ,?%@\x00\ufeff", max_size=60))
def test_no_text_makes_the_reader_fail_in_another_way(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(parse_config(text, "c"), Config)


# ── where the file is and who may write to it ──────────────────────────────────────────────────


def test_the_current_directory_is_never_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "plugins: []")
    (tmp_path / "plugway.yaml").write_text("plugins: []")
    (tmp_path / ".env").write_text("PLUGWAY_CONFIG=config.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PLUGWAY_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert find_config(None) is None


def test_the_explicit_path_wins_over_the_variable_and_that_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PLUGWAY_CONFIG", raising=False)
    default = default_config_path()
    default.parent.mkdir(parents=True)
    default.write_text("plugins: []")
    assert find_config(None) == default
    monkeypatch.setenv("PLUGWAY_CONFIG", str(tmp_path / "named.yaml"))
    assert find_config(None) == tmp_path / "named.yaml"
    assert find_config(tmp_path / "given.yaml") == tmp_path / "given.yaml"


def test_a_missing_file_is_told_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file - run `plugway config example >"):
        load_config(tmp_path / "no.yaml")


@posix
def test_a_file_that_every_user_may_write_to_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "plugins: []", 0o666)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"(mode 0666) - run `chmod 600 {path}`" in str(caught.value)


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs chown")
@pytest.mark.parametrize("link", [False, True])
def test_a_file_or_link_of_another_user_is_refused(tmp_path: Path, link: bool) -> None:
    path = written(tmp_path, "plugins: []")
    if link:
        target, path = path, tmp_path / "link.yaml"
        path.symlink_to(target)
    os.chown(path, 12345, -1, follow_symlinks=False)
    with pytest.raises(ConfigError, match="belongs to another user") as caught:
        load_config(path)
    assert f"run `sudo chown {os.geteuid()} {path}`" in str(caught.value)


@posix
def test_a_written_token_needs_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    text = "server: {token: abcdefghijklmnopqrstuvwxyz}\nplugins: []"
    path = written(tmp_path, text, 0o644)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert f"run `chmod 600 {path}`" in str(caught.value)
    assert "abcdefgh" not in str(caught.value)
    path.chmod(0o600)
    assert gateway_token(load_config(path).server) == "abcdefghijklmnopqrstuvwxyz"


@posix
def test_a_pipe_or_folder_is_no_configuration_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(tmp_path / "pipe")
    with pytest.raises(ConfigError):
        load_config(tmp_path)


# ── the server section ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "section",
    [
        "port: 70000",
        "port: -1",
        "port: true",
        "port: '٨٤٨٤'",
        "port: 84.5",
        "drain_seconds: 0",
        "ping_seconds: -3",
        "max_streams: 0",
        "idle_seconds: .nan",
        "host: 'http://127.0.0.1'",
        "host: ''",
        "token: 'with space'",
        "token: ''",
        "allowed_hosts: box",
        "behind_tls: perhaps",
        "tls: true",
    ],
)
def test_a_wrong_setting_is_refused_at_its_place(section: str) -> None:
    (problem,) = problems_of(f"server: {{{section}}}\nplugins: []")
    assert problem.where == "c.yaml:1:10"
    assert problem.path == f"server.{section.split(':')[0]}"


def test_settings_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PORT", "9123")
    assert parse_config("server: {port: {$env: TEST_PORT}}\nplugins: []").server.port == 9123
    monkeypatch.setenv("TEST_PORT", "٩١٢٣")
    assert "server.port" in the_problem("server: {port: {$env: TEST_PORT}}\nplugins: []")
    monkeypatch.setenv("TEST_PORT", "9123\r\nx: y")
    assert "a line break" in the_problem("server: {port: {$env: TEST_PORT}}\nplugins: []")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", "0x7f000001"])
def test_an_address_beyond_this_machine_needs_token_and_encryption(host: str) -> None:
    for extra in ("", ", token: " + "t" * 32, ", behind_tls: true"):
        with pytest.raises(ExposedError, match="reachable from other machines"):
            parse_config(f"server: {{host: '{host}'{extra}}}\nplugins: []")
    full = f"server: {{host: '{host}', token: {'t' * 32}, behind_tls: true}}\nplugins: []"
    assert parse_config(full).server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST."])
def test_loopback_needs_neither(host: str) -> None:
    assert is_loopback_host(host)
    assert parse_config(f"server: {{host: '{host}'}}\nplugins: []").server.token is None


def test_the_command_line_wins_and_is_named_when_it_is_wrong() -> None:
    text = "server: {host: 0.0.0.0, port: 1}\nplugins: []"
    server = parse_config(text, "c", {"host": "127.0.0.1", "port": "9000"}).server
    assert (server.host, server.port) == ("127.0.0.1", 9000)
    with pytest.raises(ConfigError, match=r"command line: `server\.port`"):
        parse_config("plugins: []", "c", {"port": "٩٠"})


def test_every_setting_is_described() -> None:
    assert all(field.description for field in ServerOptions.model_fields.values())


def test_a_written_token_is_in_no_representation() -> None:
    config = parse_config("server: {token: abcdefghijklmnop}\nplugins: []")
    assert "abcdefgh" not in repr(config)


# ── the minted token ───────────────────────────────────────────────────────────────────────────


def test_a_token_is_minted_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    token = gateway_token(ServerOptions(), state_dir=folder)
    assert len(token) >= 43
    assert gateway_token(ServerOptions(), state_dir=folder) == token
    assert (folder / "token").read_text("ascii").strip() == token
    assert [path.name for path in folder.iterdir()] == ["token"]
    if os.name != "nt":
        assert stat.S_IMODE((folder / "token").stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_gateways_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    tokens: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: tokens.append(gateway_token(ServerOptions(), state_dir=tmp_path))
        )
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 16
    assert len(set(tokens)) == 1


@posix
def test_a_token_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    token = gateway_token(ServerOptions(), state_dir=tmp_path)
    (tmp_path / "token").chmod(0o644)
    with pytest.raises(ConfigError, match="may be known to other users") as caught:
        gateway_token(ServerOptions(), state_dir=tmp_path)
    assert token not in str(caught.value)


@pytest.mark.parametrize("content", ["", "short", "é" * 40])
def test_a_damaged_token_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content, "utf-8")
    (tmp_path / "token").chmod(0o600)
    token = gateway_token(ServerOptions(), state_dir=tmp_path)
    assert len(token) >= 43
    assert gateway_token(ServerOptions(), state_dir=tmp_path) == token


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:8484"),
        ("0.0.0.0", "http://127.0.0.1:8484"),
        ("::", "http://[::1]:8484"),
        ("[::1]", "http://[::1]:8484"),
        ("gateway.test", "http://gateway.test:8484"),
    ],
)
def test_clients_on_this_machine_get_an_address_that_the_guard_lets_in(
    host: str, address: str
) -> None:
    assert ServerOptions(host=host).address == address


def test_old_drafts_of_the_token_are_removed_at_the_next_start(tmp_path):
    token = gateway_token(ServerOptions(), state_dir=tmp_path)
    for name, age in {".token-0f": 7200, ".token-1f": 0, ".other-0f": 7200}.items():
        draft = tmp_path / name
        draft.touch()
        when = draft.stat().st_mtime - age
        os.utime(draft, (when, when))
    assert gateway_token(ServerOptions(), state_dir=tmp_path) == token
    assert {path.name for path in tmp_path.iterdir()} == {"token", ".token-1f", ".other-0f"}
