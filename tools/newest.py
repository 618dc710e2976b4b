"""Report what the newest Claude Code sends that is unknown here, by name: `make newest`.

Runs the core of the client's tests with a recording relay between the client and the gateway, and
compares the traffic with the tables of the plugins and `newest.toml`. Unknown names are reported
but are not a failure: the exit code is that of the tests.

Usage: python -m tools.newest [VERSION]; the default is the newest version on npm.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from plugway_field_policy._presets import (
    BETA_BLOCKS,
    BETAS,
    BLOCK_EXTRAS,
    BLOCK_KEYS,
    CORE,
    PRESETS,
    SERVER_BLOCKS,
    TOOL_KEYS,
)

ROOT = Path(__file__).resolve().parents[1]
KNOWN = tomllib.loads((ROOT / "tools/newest.toml").read_text())
NAMES = CORE.union(*(preset.takes for preset in PRESETS.values()), (name for _, name in BETAS))
"""All names that `field-policy` knows: `field`, `field.part`, and features of a request."""
FIELDS = {name.partition(".")[0] for name in NAMES}
TOOL = TOOL_KEYS | {name.removeprefix("tools.") for name in NAMES if name.startswith("tools.")}
TOOL |= {"cache_control", *("allowed_domains", "blocked_domains", "max_uses", "user_location")}
BLOCKS = BLOCK_KEYS.keys() | BETA_BLOCKS | {"server_tool_use", "tool_reference"}
_HOST = re.compile(rb"(\r\nhost: )[\w.:]+\r\n", re.IGNORECASE)
_numbers = count()


# ── the relay ────────────────────────────────────────────────────────────────────────────────────


def recorded(url: str) -> str:
    """The server through a recording relay, if `PLUGWAY_RECORD` names a folder."""
    folder = os.environ.get("PLUGWAY_RECORD")
    if not folder:
        return url
    listener = socket.create_server(("127.0.0.1", 0))
    target = (urlsplit(url).hostname or "", urlsplit(url).port or 80)
    threading.Thread(target=_accept, args=(listener, target, Path(folder)), daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, target: tuple[str, int], folder: Path) -> None:
    with listener:
        while True:
            client, _ = listener.accept()
            name = folder / f"{os.getpid()}-{next(_numbers)}"
            threading.Thread(target=_connection, args=(client, target, name), daemon=True).start()


def _connection(client: socket.socket, target: tuple[str, int], name: Path) -> None:
    with client, suppress(OSError), socket.create_connection(target) as server:
        back = threading.Thread(target=_pass_on, args=(server, client, name.with_suffix(".got")))
        back.start()
        _pass_on(
            client, server, name.with_suffix(".sent"), b"%s:%d" % (target[0].encode(), target[1])
        )
        back.join()


def _pass_on(source: socket.socket, sink: socket.socket, file: Path, host: bytes = b"") -> None:
    """Copy all bytes unchanged, except the host name, which the gateway checks."""
    with file.open("wb", buffering=0) as kept, suppress(OSError):
        while data := source.recv(65536):
            kept.write(data)
            sink.sendall(_HOST.sub(rb"\g<1>%b\r\n" % host, data) if host else data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


# ── recorded traffic ─────────────────────────────────────────────────────────────────────────────


class Message(NamedTuple):
    """One HTTP message: its first line, its headers (names in lower case), its body."""

    first: str
    headers: dict[str, str]
    body: bytes


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one direction of a connection, up to one that was cut off."""
    while b"\r\n\r\n" in data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in parts}
        if headers.get("transfer-encoding") == "chunked":
            body, data = _dechunked(data)
        else:
            length = int(headers.get("content-length", 0))
            body, data = data[:length], data[length:]
        yield Message(first, headers, body)


def _dechunked(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size or b"0", 16)
        body += data[:length]
        data = data[length + 2 :]
        if not length:
            break
    return body, data


def news_of_request(message: Message) -> Iterator[str]:
    """Unknown names in a request, as `header x-new`, `beta new-2027-01-01`, `field new`."""
    method, target, _ = message.first.split(" ", 2)
    endpoint = f"{method} {target.partition('?')[0]}"
    if endpoint not in KNOWN["endpoints"]:
        yield f"endpoint {endpoint}"
    for name in message.headers:
        if name not in KNOWN["headers"] and not name.startswith("x-stainless-"):
            yield f"header {name}"
    for value in filter(None, message.headers.get("anthropic-beta", "").split(",")):
        if not value.strip().startswith(tuple(prefix for prefix, _ in BETAS)):
            yield f"beta {value.strip()}"
    body = _object(message.body)
    if endpoint.startswith("POST /v1/messages"):
        yield from _news_of_body(body)


def _news_of_body(body: dict[str, Any]) -> Iterator[str]:
    for name, value in body.items():
        if name not in FIELDS:
            yield f"field {name}"
        elif name in KNOWN["members"]:
            yield from (f"field {name}.{m}" for m in value if m not in KNOWN["members"][name])
    for tool in body.get("tools", []):
        yield from (f"field tools.{member}" for member in tool if member not in TOOL)
        yield from _news_of_type("tools", tool)
    for edit in body.get("context_management", {}).get("edits", []):
        yield from _news_of_type("context_management", edit)
    for entry in body.get("safeguards", []):
        yield from _news_of_type("safeguards", entry)
    for message in body.get("messages", []):
        yield from (f"field messages.{m}" for m in message if m not in ("role", "content"))
        yield from _news_of_blocks(message.get("content"))
    yield from _news_of_blocks(body.get("system"))


def _news_of_type(field: str, entry: dict[str, Any]) -> Iterator[str]:
    kind = entry.get("type", "custom")
    if re.sub(r"_\d{8}$", "", kind) not in KNOWN["types"][field]:
        yield f"type {kind} in {field}"


def _news_of_blocks(content: Any) -> Iterator[str]:
    for block in content if isinstance(content, list) else []:
        kind = block.get("type")
        if kind not in BLOCKS and not str(kind).endswith(SERVER_BLOCKS):
            yield f"block {kind}"
        for member in block if kind in BLOCK_KEYS else ():
            if member not in BLOCK_KEYS[kind] | BLOCK_EXTRAS:
                yield f"field {kind}.{member}"
        yield from _news_of_blocks(block.get("content"))


def news_of_answer(message: Message) -> Iterator[str]:
    """Unknown names in a response: `event new`, `delta new`, `block new`."""
    for line in message.body.splitlines():
        if not line.startswith(b"data:"):
            continue
        data = _object(line[5:])
        kind = data.get("type")
        if kind not in KNOWN["answers"]["events"]:
            yield f"event {kind}"
        delta = data.get("delta", {}).get("type") if kind == "content_block_delta" else None
        if delta and delta not in KNOWN["answers"]["deltas"]:
            yield f"delta {delta}"
        if "content_block" in data:
            yield from _news_of_blocks([data["content_block"]])


def _object(data: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(data)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def news(folder: Path) -> list[str]:
    """The unknown names in everything that was recorded there, without duplicates."""
    found: set[str] = set()
    for file in folder.iterdir():
        of = news_of_request if file.suffix == ".sent" else news_of_answer
        for message in messages(file.read_bytes()):
            found.update(of(message))
    return sorted(found)


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def main(wanted: str = "newest") -> int:
    """Run the tests with that version, and print the unknown names."""
    done = subprocess.run([ROOT / "tools/claude-code", wanted], capture_output=True, text=True)
    if done.returncode:
        print(f"Claude Code ({wanted}) is not available: {done.stderr.strip()}", file=sys.stderr)
        return 1
    version = re.search(r"claude-code-([^/]+)/", done.stdout)[1]  # type: ignore[index]
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "PLUGWAY_CLAUDE_VERSIONS": version, "PLUGWAY_RECORD": folder}
        tests = [sys.executable, "-m", "pytest", "-m", "core", "tests/e2e", "plugins"]
        code = subprocess.run(tests, cwd=ROOT, env=env).returncode
        passed = len(list(Path(folder).glob("*.sent")))
        found = news(Path(folder))
    print(f"\nClaude Code {version}, {passed} connections recorded")
    if found:
        print("unknown to all plugins:", *found, sep="\n  ")
    else:
        print("no unknown names")
    print("TESTS FAILED with this version, see above" if code else "all tests of the core passed")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
