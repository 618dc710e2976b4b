"""The command as a person runs it: real gateways, consent, interruption, and its files."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

import anyio
import pytest
import yaml
from bench_measuring import reply, served, upstream

from plugway import PlugwayError
from plugway.config.config import parse_config
from plugway.testing import Hold
from plugway_bench._choose import agreed, announcement, needs_consent
from plugway_bench._gateway import with_plugin
from plugway_bench._run import Plan
from plugway_bench._samples import Endpoint
from plugway_prices import FREE, Price, Rates, dollars
from tests.commands import command
from tests.slow import SLOW

pytestmark = pytest.mark.anyio
PLUGWAY = str(Path(sys.executable).with_name("plugway"))
HERE = Endpoint("local", "local", "demo", 65_536, FREE)
DEAR = Endpoint("cloud", "anthropic", "m", 200_000, Price(Rates(*[3 * 10**6] * 5)))
UNKNOWN = Endpoint("house", "models.example.org", "m", 0, None)
PAID_HERE = Endpoint("relay", "local", "m", 0, Price(Rates(*[10**6] * 5)))


def config(folder, *plugins, **server):
    """A configuration on a free port."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    path = folder / "config.yaml"
    document = {"server": {"port": port, **server}, "plugins": list(plugins)}
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    return path


def backend(up, name="up", **options):
    return {"use": "anthropic-compatible", "name": name, "options": {
        "base_url": up.url, "models": ["m"], **options
    }}  # fmt: skip


def environment(folder):
    kept = {name: value for name, value in os.environ.items() if name.startswith("XDG_")}
    return {"HOME": str(folder), "PATH": os.defpath, **kept}


async def bench(folder, *words):
    """Run it to its end: status, output and messages."""
    done = await anyio.run_process(
        [PLUGWAY, "bench", *words], env=environment(folder), cwd=folder, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def _calling(request, **how):
    """The call that a request asks for, or a text."""
    written = ("Write", {"file_path": "note.txt", "content": "reviewed"})
    return reply(
        request, calls=(written,) if b"with the text reviewed" in request.body else (), **how
    )


async def test_two_endpoints_one_command_three_files(tmp_path):
    quick = upstream(_calling)
    slow = upstream(lambda request: _calling(request, first=0.1))
    async with quick, slow:
        path = config(tmp_path, backend(quick, "fast"), backend(slow, "slow"))
        words = ("--config", str(path), "--rounds", "1", "--out", str(tmp_path / "out"))
        code, out, err = await bench(tmp_path, *words)
    assert code == 0, err
    assert re.search("Use `(fast|slow)/m`: it completed 3 of 3 workloads", out), "see test_report"
    assert "passed outside its backend" in out
    endings = sorted(path.suffix for path in (tmp_path / "out").iterdir())
    assert endings == [".json", ".md", ".svg"]
    (written,) = (tmp_path / "out").glob("*.json")
    result = json.loads(written.read_text())
    assert result["complete"] is True
    assert [row["endpoint"] for row in result["endpoints"]] == ["fast/m", "slow/m"]
    assert "turn_share" in result["endpoints"][0]["figures"]
    assert "fast/m: this machine; no cost" in err
    done = command(
        "bench", "--compare", str(written), str(written), env=environment(tmp_path), folder=tmp_path
    )
    assert "- `fast/m`: no figure changed beyond the spread." in done.stdout


async def test_a_backend_that_is_down_is_in_the_report_and_not_left_out_silently(tmp_path):
    up = upstream()
    async with up:
        gone = {"use": "anthropic-compatible", "name": "gone", "options": {
            "base_url": "http://127.0.0.1:1"
        }}  # fmt: skip
        path = config(tmp_path, backend(up), gone)
        words = ("--config", str(path), "--rounds", "1", "--workload", "turn")
        code, out, err = await bench(tmp_path, *words, "--out", str(tmp_path))
        only = await bench(tmp_path, *words, "--endpoint", "up/*", "--out", str(tmp_path))
    assert code == 0, err
    assert "gone: not measured, because it lists no models" in err
    assert "- `gone`: not measured, because it lists no models" in out
    assert "gone" not in only[1] + only[2]


async def test_another_zone_gets_nothing_without_consent(tmp_path):
    up = upstream()
    async with up:
        path = config(tmp_path, backend(up, "away", zone="example.org"))
        code, _, err = await bench(tmp_path, "--config", str(path), "--out", str(tmp_path))
    assert code == 1
    assert "away/m: zone `example.org`; the price is not known" in err
    assert "not measured without `--yes`: away/m" in err
    assert "nothing was sent" in err
    assert [request.path for request in up.requests if "messages" in request.path] == []


async def test_a_gateway_that_runs_is_used_and_asked_for_the_plugin(tmp_path):
    async with served(upstream(), plugin=False) as g:
        path = config(tmp_path, {"use": "echo"}, port=g.port, token=g.token)
        words = ("--rounds", "1", "--workload", "turn", "--out", str(tmp_path))
        code, out, err = await bench(tmp_path, "--config", str(path), *words)
    assert code == 0, err
    assert f"Through {g.url}." in err
    assert (
        "`up0/m`: the gateway's share is not known. List `- use: bench` as the last plugin" in out
    )


async def test_ctrl_c_keeps_and_prints_what_there_is(tmp_path):
    def answer(request):
        return [Hold()] if len(request.body) > 150_000 else reply(request)

    up = upstream(answer)
    async with up:
        path = config(tmp_path, backend(up))
        words = (
            PLUGWAY,
            "bench",
            "--config",
            str(path),
            "--rounds",
            "1",
            "--out",
            str(tmp_path),
            "--workload",
            "turn",
            "--workload",
            "tools",
        )
        async with await anyio.open_process(
            words, env=environment(tmp_path), cwd=tmp_path, start_new_session=True
        ) as process:
            # the turn, its repetition and the cancel are done when the 50K arrive
            with anyio.fail_after(60):
                while not any(len(request.body) > 150_000 for request in up.requests):
                    await up.wait_for_request(len(up.requests) + 1, seconds=60)
            process.send_signal(signal.SIGINT)
            with anyio.fail_after(60):
                out = b"".join([chunk async for chunk in process.stdout]).decode()
                code = await process.wait()
    assert code == 130
    assert "**Interrupted**" in out
    (written,) = tmp_path.glob("bench-*.json")
    result = json.loads(written.read_text())
    assert result["complete"] is False
    assert "first_cold" in result["endpoints"][0]["figures"]


async def test_a_folder_that_cannot_be_written_is_found_before_anything_is_sent(tmp_path):
    up = upstream()
    async with up:
        path = config(tmp_path, backend(up))
        blocked = tmp_path / "file"
        blocked.write_text("")
        code, _, err = await bench(tmp_path, "--config", str(path), "--out", str(blocked / "x"))
    assert code == 1
    assert f"cannot write to `{blocked / 'x'}`" in err
    assert "`--out`" in err
    assert up.requests == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--endpoint", "nobody/*"), "no endpoint matches `nobody/*`; endpoints: `echo/"),
        (("--workload", "all"), "unknown workload 'all'; workloads are turn, turns, tools"),
        (("--rounds", "0"), "--rounds"),
        (("--compare", "no.json", "no.json"), "cannot read `no.json`"),
    ],
    ids=["endpoint", "workload", "rounds", "compare"],
)
async def test_wrong_words_are_named_with_what_there_is(words, said, tmp_path):
    path = config(tmp_path, {"use": "echo"})
    code, _, err = await bench(tmp_path, "--config", str(path), *words)
    assert code != 0
    assert said in err


def test_without_a_terminal_only_this_machine_is_used_and_yes_uses_all():
    said = []
    everything = [HERE, DEAR, UNKNOWN, PAID_HERE]
    assert [needs_consent(one) for one in everything] == [False, True, True, True]

    def chosen(**how):
        return agreed(everything, say=said.append, **how)

    def never(question):
        raise AssertionError(question)

    assert chosen(yes=False, interactive=False, ask=never) == [HERE]
    assert said == ["not measured without `--yes`: cloud/m, house/m, relay/m"]
    assert chosen(yes=True, interactive=False, ask=never) == everything
    asked = []
    assert chosen(yes=False, interactive=True, ask=lambda q: asked.append(q) or False) == [HERE]
    assert asked == ["Send this to cloud/m, house/m, relay/m?"]
    assert chosen(yes=False, interactive=True, ask=lambda _: True) == everything
    assert agreed([HERE], yes=False, interactive=True, ask=never, say=said.append) == [HERE]


def test_what_is_sent_and_what_it_may_cost_is_announced():
    plan = Plan(("turn",), 3, 7)
    text = "\n".join(announcement(plan, [HERE, DEAR, UNKNOWN]))
    assert f"{len(plan.steps)} requests with about {plan.tokens:,} tokens" in text
    assert "local/demo: this machine, window 65,536; no cost" in text
    assert "house/m: zone `models.example.org`; the price is not known" in text
    most = plan.most_nano_dollars(DEAR)
    bodies = sum(len(step.question.encoded(DEAR.id)) for step in plan.steps)
    assert most == pytest.approx(3000 * (bodies / 2.5 + 256 * len(plan.steps)), rel=0.001)
    assert f"cloud/m: zone `anthropic`, window 200,000; at most {dollars(most)}" in text


TEXT = """
server: {token: {$file: token}, port: 0}
plugins:
  - use: prices
    options: {models: {"a/*": [{input: 1, output: 2, since: 2027-01-01}]}}
  - {use: echo, name: "on"}  # not a boolean
  - {use: anthropic, options: {api_key: {$file: /etc/key}}}
"""


def test_the_configuration_is_unchanged_but_for_the_plugin_and_paths(tmp_path):
    (tmp_path / "token").write_text("a-token-of-some-length-0123456789")
    (tmp_path / "token").chmod(0o600)
    changed = with_plugin(TEXT, tmp_path / "config.yaml")
    before, after = yaml.safe_load(TEXT), yaml.safe_load(changed)
    assert after["plugins"][-1] == {"use": "bench"}
    assert after["server"]["token"] == {"$file": str(tmp_path / "token")}
    after["plugins"].pop()
    after["server"]["token"] = before["server"]["token"]
    assert after == before
    assert with_plugin(changed, tmp_path / "config.yaml") == changed
    assert [entry.name for entry in parse_config(changed, "test").plugins][-3:] == [
        "on",
        "anthropic",
        "bench",
    ]


@pytest.mark.parametrize("text", ["[]", "server: {}", "plugins: 3"])
def test_a_configuration_without_plugins_is_refused(text):
    with pytest.raises(PlugwayError):
        with_plugin(text, None)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.skipif(not SLOW, reason="takes minutes")
async def test_the_demo_model_is_measured_in_less_than_ten_minutes(tmp_path):
    options = {"model": "demo", "temperature": 0, "threads": 1}  # two wait for a busy machine
    model = {"use": "llama-cpp", "name": "local", "options": options}
    path = config(tmp_path, {"use": "context-guard"}, model)
    out = tmp_path / "out"
    code, _, err = await bench(tmp_path, "--config", str(path), "--out", str(out))
    assert code == 0, err
    (written,) = out.glob("*.json")
    result = json.loads(written.read_text())
    (row,) = result["endpoints"]
    assert result["seconds"] < 600
    outcomes = {name: found["outcome"] for name, found in row["workloads"].items()}
    assert outcomes == {"turn": "measured", "turns": "measured", "tools": "measured"}
    assert row["workloads"]["tools"]["prompt_tokens"] > row["workloads"]["tools"]["window"]
    assert row["calls_valid"] >= 3, "every other turn asks for what it can do"
    assert row["figures"]["prefix_reuse"]["value"] > 90
    assert row["figures"]["turn_share"]["value"] < row["figures"]["first_cold"]["value"]
    assert row["dollars"] == 0
