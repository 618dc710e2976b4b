"""The complete comparison: direct, nginx as a plain reverse proxy, and the gateway.

`python -m bench.gateway` runs `plugway serve` with a router, resilience and one backend
(`gateway`), and with the plugins of `config.example.yaml` in front of `anthropic-compatible`
(`shipped`: what people run). `--targets` also takes `shipped-anthropic`, with that backend. To
measure another gateway or configuration: `--gateway "plugway serve --config mine.yaml" --port 8484
--token T`; its upstream must then be `http://127.0.0.1:9180`, and `{port}`, `{token}`, `{upstream}`
and `{config}` in the command are filled in. The measured process runs on one core; the load and the
upstream share another. Every target is measured in every round; figures are medians over rounds.

`--api chat` puts an upstream of Chat Completions behind the gateway and the others (`--others`), so
that requests and replies are translated. Direct and through nginx it still speaks the Messages API.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bench import bodies
from bench.goals import judge
from bench.others import OTHERS, PARTS, Api, Setting
from bench.process import ROOT, default_cores, rss_megabytes, started, until_answered

SHIPPED: Mapping[str, str] = {"shipped": "anthropic-compatible", "shipped-anthropic": "anthropic"}
"""The stack of `config.example.yaml`, by target, with its backend."""
TARGETS = ("direct", "nginx", "gateway", *SHIPPED)
STACK = """\
server: {{host: 127.0.0.1, port: {port}, token: {{$env: BENCH_TOKEN}}}}
plugins:
  - use: resilience
  - use: router
    options: {{models: {{"*": [upstream]}}}}
"""
"""Start of every configuration: a router and resilience; one backend follows."""
CONFIGS: Mapping[Api, str] = {
    "messages": STACK
    + """\
  - use: anthropic-compatible
    name: upstream
    options: {{base_url: "{upstream}", models: [bench], native_errors: true}}
""",
    "chat": STACK
    + """\
  - use: openai-compatible
    name: upstream
    options: {{base_url: "{upstream}/v1", learn: false}}
""",
}
CHAT_PARTS = ("requests", "first_byte", "streams", "paced", "dense", "aborts", "memory")
NGINX = """\
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  client_max_body_size 64m;
  client_body_buffer_size 1m;
  keepalive_requests 100000000;
  upstream bench {{
    server 127.0.0.1:{upstream_port};
    keepalive 64;
    keepalive_requests 100000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://bench;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


SERVE = "plugway serve --config {config} --log-level warning"


def shipped(port: int, upstream: str, backend: str) -> str:
    """The configuration with the plugins of `config.example.yaml` up to its router, in front of
    one backend."""
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text(encoding="utf-8"))
    plugins: list[dict[str, Any]] = []
    for entry in example["plugins"]:
        plugins.append(entry)
        if entry["use"] == "router":
            break
    plugins[-1]["options"]["models"] = {"*": ["upstream"]}
    options: dict[str, Any] = {"base_url": upstream}
    if backend == "anthropic":
        options["api_key"] = {"$env": "BENCH_TOKEN"}
    else:
        options["models"] = ["bench"]
    plugins.append({"use": backend, "name": "upstream", "options": options})
    server = {"host": "127.0.0.1", "port": port, "token": {"$env": "BENCH_TOKEN"}}
    return yaml.safe_dump({"server": server, "plugins": plugins}, sort_keys=False)


class Comparison:
    """The targets, the load on them, and the results."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.upstream = f"http://127.0.0.1:{options.upstream_port}"
        self.core, self.load_core = options.cores
        self.rounds: dict[str, list[dict[str, float]]] = {}

    async def run(self) -> None:
        """Measure every target in every round, so that a drifting machine affects all of them."""
        command = [sys.executable, "-m", "bench.upstream", "--port", self._port("upstream_port")]
        log = self.folder / "upstream.log"
        async with started(command, self.load_core, log) as process:
            await until_answered(
                process, self.options.upstream_port, b"GET / HTTP/1.1\r\n\r\n", log
            )
            for number in range(1, self.options.rounds + 1):
                for target in (*self.options.targets, *self.options.others):
                    print(f"round {number} of {self.options.rounds}: {target}", file=sys.stderr)
                    figures = await self._measure(target)
                    self.rounds.setdefault(target, []).append(figures)

    def results(self) -> dict[str, dict[str, float]]:
        """The median of every figure."""
        return {
            target: {
                name: statistics.median(figures[name] for figures in rounds if name in figures)
                for name in rounds[0]
            }
            for target, rounds in self.rounds.items()
        }

    async def _measure(self, target: str) -> dict[str, float]:
        if target == "direct":
            return await self._load(self.options.upstream_port, None, self._parts(target))
        async with self._target(target) as (process, port, log):
            body = bodies.small(bodies.marker(), stream=False)
            request = bodies.request(body, self.options.token, port)
            figures = {"start_s": await until_answered(process, port, request, log, 90)}
            await asyncio.sleep(1)
            figures["rss_idle_mb"] = rss_megabytes(process.pid)
            return figures | await self._load(
                port,
                process.pid,
                self._parts(target),
                4.0 if target in self.options.others else 0.0,
            )

    def _parts(self, target: str) -> Sequence[str] | None:
        """Parts of bench.load; None for all."""
        api, only = self.options.api, self.options.only
        if target in self.options.others:
            known: Sequence[str] = PARTS[api]
        elif api == "chat":
            known = CHAT_PARTS
        else:
            return only
        return [part for part in known if not only or part in only]

    @contextlib.asynccontextmanager
    async def _target(
        self, target: str
    ) -> AsyncGenerator[tuple[asyncio.subprocess.Process, int, Path]]:
        log = self.folder / f"{target}.log"
        environment: Mapping[str, str] = {"BENCH_TOKEN": self.options.token}
        if target == "nginx":
            port = self.options.port + 1
            command = self._nginx(port)
        elif target == "gateway" or target in SHIPPED:
            port = self.options.port
            command = self._gateway(port, target)
        else:
            port = self.options.port + 2
            program = self.options.others[target]
            options = self.options
            found = OTHERS[target](
                Setting(program, self.folder, port, self.upstream, options.token, options.api)
            )
            command, environment = found.command, found.environment
        async with started(command, self.core, log, **environment) as process:
            yield process, port, log

    def _nginx(self, port: int) -> Sequence[str]:
        config = self.folder / "nginx.conf"
        text = NGINX.format(folder=self.folder, port=port, upstream_port=self.options.upstream_port)
        config.write_text(text, encoding="utf-8")
        return [
            "nginx",
            "-p",
            str(self.folder),
            "-c",
            str(config),
            "-e",
            str(self.folder / "e.log"),
        ]

    def _gateway(self, port: int, target: str) -> Sequence[str]:
        config = self.folder / "config.yaml"
        if target in SHIPPED:
            text = shipped(port, self.upstream, SHIPPED[target])
        else:
            text = CONFIGS[self.options.api].format(port=port, upstream=self.upstream)
        config.write_text(text, encoding="utf-8")
        config.chmod(0o600)
        values = {
            "port": str(port),
            "token": self.options.token,
            "upstream": self.upstream,
            "config": str(config),
        }
        program = SERVE if target in SHIPPED else self.options.gateway
        command = shlex.split(program.format(**values))
        beside = Path(sys.executable).with_name(command[0])
        return [str(beside) if beside.is_file() else command[0], *command[1:]]

    async def _load(
        self, port: int, pid: int | None, parts: Sequence[str] | None, least: float = 0.0
    ) -> dict[str, float]:
        output = self.folder / "figures.json"
        seconds = max(self.options.seconds, least)  # some are slow
        command = [
            *(sys.executable, "-m", "bench.load", "--url", f"http://127.0.0.1:{port}"),
            *("--token", self.options.token, "--upstream", self.upstream),
            *("--seconds", str(seconds), "--json", str(output)),
            *(("--pid", str(pid)) if pid else ()),
            *(("--only", *parts) if parts else ()),
        ]
        log = self.folder / "load.log"
        async with started(command, self.load_core, log) as process:
            status = await asyncio.wait_for(process.wait(), 60 + 40 * seconds)
        if status:
            sys.exit(f"the load on port {port} failed:\n{_read(log)[-2000:]}")
        return json.loads(_read(output))

    def _port(self, name: str) -> str:
        return str(getattr(self.options, name))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows with aligned columns, the first one left-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _figures_table(results: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for figures in results.values() for name in figures))
    rows = [["", *results]]
    for name in names:
        values = (figures.get(name) for figures in results.values())
        rows.append([name, *("-" if value is None else f"{value:,.3f}" for value in values)])
    return table(rows)


def _save(options: argparse.Namespace, comparison: Comparison) -> Path:
    folder = ROOT / "bench/results"
    folder.mkdir(exist_ok=True)
    path = options.out or folder / time.strftime("gateway-%Y%m%d-%H%M%S.json")
    content = {
        "machine": {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
            "load": os.getloadavg(),
        },
        "api": options.api,
        "seconds": options.seconds,
        "medians": comparison.results(),
        "rounds": comparison.rounds,
        "goals": judge(comparison.results(), options.api),
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(description=__doc__)
    found.add_argument("--gateway", default=SERVE)
    found.add_argument("--api", choices=list(CONFIGS), default="messages", help="upstream API")
    found.add_argument("--token", default="bench-token-of-32-characters-0000")
    found.add_argument("--port", type=int, default=9184, help="gateway port; nginx uses the next")
    found.add_argument("--upstream-port", type=int, default=9180)
    found.add_argument("--rounds", type=int, default=3, help="number of rounds, up to 20")
    found.add_argument("--seconds", type=float, default=2.0, help="per measurement, up to 30")
    found.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS[:4]))
    found.add_argument("--only", nargs="*", help="run only these parts of bench.load")
    found.add_argument("--cores", type=int, nargs=2, help="core to measure on, core of the load")
    found.add_argument(
        "--others", nargs="*", type=_other, default=[], metavar="NAME=PATH", help="bench.others"
    )
    found.add_argument("--out", type=Path, help="write the figures to this file")
    found.add_argument("--check", action="store_true", help="fail if a goal is missed")
    return found


def _other(text: str) -> tuple[str, str]:
    name, _, program = text.partition("=")
    if name not in OTHERS or not program:
        raise argparse.ArgumentTypeError(f"NAME=PATH with one of {', '.join(OTHERS)}")
    return name, program


def main() -> None:
    options = parser().parse_args()
    options.rounds = min(options.rounds, 20)
    options.others = dict(options.others)
    options.seconds = min(options.seconds, 30.0)
    options.cores = options.cores or default_cores()
    if options.api == "chat":
        options.targets = [target for target in options.targets if target not in SHIPPED]
    if "nginx" in options.targets and shutil.which("nginx") is None:
        print("nginx is not on PATH: skipped, with the goals relative to it", file=sys.stderr)
        options.targets.remove("nginx")
    if os.getloadavg()[0] > 0.5 * (os.cpu_count() or 1):
        print("the machine is busy: trust CPU times, not rates or p99", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        comparison = Comparison(options, Path(folder))
        asyncio.run(comparison.run())
    path = _save(options, comparison)
    rows = judge(comparison.results(), options.api)
    print(_figures_table(comparison.results()))
    if rows:
        print("\n" + table([("figure", "goal", "measured", ""), *rows]))
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    print(f"\nsaved to {shown}", file=sys.stderr)
    if options.check and any(verdict == "miss" for *_, verdict in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
