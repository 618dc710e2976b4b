"""llama.cpp's own tests of its server's three APIs, against the embedded model and `plugway serve`.

They come from the source distribution of llama-cpp-python (`tools/llama-cpp-sources`), which is
downloaded when this test runs and never kept in the clone; `peers/utils.py` replaces their helpers.
The deliberate differences are listed here with their reasons. All other tests pass, and a listed
test that no longer fails is an error.
"""

import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import httpx2
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
MODULES = ("test_compat_anthropic", "test_chat_completion", "test_compat_oai_responses")
TOKEN = "dummy"  # what their clients send


class Row(NamedTuple):
    """A test that fails here: its name (or a prefix, for one with parameters), pytest's message, and
    the reason for our behaviour."""

    name: str
    failure: str
    why: str


DIFFERENT = (
    # test_compat_anthropic
    Row(
        "test_anthropic_tool_result_with_image",
        "200 == 500",
        "an image that no model reads becomes a placeholder, named in the receipt",
    ),
    Row(
        "test_anthropic_vision_format_accepted",
        "200 == 500",
        "an image that no model reads becomes a placeholder, named in the receipt",
    ),
    Row(
        "test_anthropic_empty_messages",
        "400 == 200",
        "Anthropic refuses a request without messages",
    ),
    Row(
        "test_anthropic_thinking_history_in_count_tokens",
        "Expected more tokens with thinking",
        "the template of the demo model shows no thinking (theirs is swapped for Qwen's)",
    ),
    Row(
        "test_anthropic_thinking_history_in_template",
        "404",
        "`/apply-template` belongs to no API that clients of Plugway speak",
    ),
    # test_chat_completion
    Row(
        "test_chat_completion[codellama70b",
        "'stop' == 'length'",
        "the demo model ends its sentence before 128 tokens",
    ),
    Row(
        "test_chat_completion_stream[You are a coding assistant.",
        "'stop' == 'length'",
        "the demo model ends its sentence before 128 tokens",
    ),
    Row(
        "test_chat_completion_cached_tokens",
        "== 0",
        "counts of their tokenizer, on a server that nobody asked before",
    ),
    Row("test_chat_template", "__verbose", "prompts are shown to nobody"),
    Row("test_chat_template_assistant_prefill", "__verbose", "prompts are shown to nobody"),
    Row(
        "test_chat_template_continue_final_message_vllm_compat",
        "__verbose",
        "prompts are shown to nobody",
    ),
    Row(
        "test_chat_template_continue_final_message_mutual_exclusion",
        "200 == 400",
        "fields of llama-server that OpenAI does not have are left out, with a line in the receipt",
    ),
    Row("test_verbose_debug", "__verbose", "prompts are shown to nobody"),
    Row(
        "test_apply_chat_template",
        "404 == 200",
        "`/apply-template` belongs to no API that clients of Plugway speak",
    ),
    Row(
        "test_completion_with_response_format[response_format0-",
        "match_regex",
        "`schema` beside `json_object` is llama-server's; OpenAI's is `json_schema`",
    ),
    Row(
        "test_completion_with_json_schema",
        "match_regex",
        "`json_schema` at the top is llama-server's; OpenAI's is `response_format`",
    ),
    Row(
        "test_completion_with_grammar",
        "match_regex",
        "a grammar of the client's own is llama-server's; schemas are what OpenAI has",
    ),
    Row(
        "test_completion_with_invalid_grammar",
        "200 == 400",
        "a grammar of the client's own is llama-server's; schemas are what OpenAI has",
    ),
    Row(
        "test_invalid_chat_completion_req[messages7]",
        "200 == 400",
        "assistant turns in a row are joined, as Anthropic does",
    ),
    Row(
        "test_chat_completion_with_timings_per_token",
        "assert 'timings' in",
        "times stand in the receipt; the API has no field for them",
    ),
    Row("test_logprobs", "'logprobs' is not supported", "log probabilities are not supported"),
    Row(
        "test_logprobs_stream", "'logprobs' is not supported", "log probabilities are not supported"
    ),
    Row("test_logit_bias", "404 == 200", "`/tokenize` belongs to no API that clients speak"),
    Row("test_return_progress", "None is not None", "llama-server's own report of progress"),
    Row(
        "test_chat_completions_multiple_choices",
        "400 == 200",
        "the Messages API in the middle has one answer; `n: 2` is refused and says so",
    ),
    Row(
        "test_chat_completions_token_count",
        "404 == 200",
        "OpenAI counts by `/v1/responses/input_tokens` only",
    ),
    # test_compat_oai_responses
    Row(
        "test_responses_stream_with_llama_telemetry",
        "assert False",
        "llama-server's own times and progress",
    ),
)

SKIPPED = (
    "test_anthropic_vision_base64_with_multimodal_model",
    "test_anthropic_thinking_with_reasoning_model",
)
"""Tests that download a model of several hundred megabytes."""

LINES = {
    r".*system_fingerprint.*": "llama.cpp's build number; optional at OpenAI",
    r'.*\["(prompt|completion)_tokens"\] == n_.*': "counts of another tokenizer and model",
    r'.*\["delta"\]\["content"\] is None': "OpenAI's first chunk has an empty text, not null",
    r'.*data\["model"\] == "llama-test-model"': "the name that was asked for comes back",
    r'.*"exceed_context_size_error"': "OpenAI's type, with `context_length_exceeded` as the code",
    r'.*\["n_prompt_tokens"\] > 0': "the numbers stand in the message, as OpenAI has it",
    r'.*\["n_ctx"\] == .*': "the numbers stand in the message, as OpenAI has it",
}
"""Assertions that are removed, so that the rest of their tests counts; each occurs at least once."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Their tests, without the assertions of `LINES`."""
    tool = ROOT / "tools/llama-cpp-sources"
    env = os.environ | {"PYTHON": sys.executable}
    done = subprocess.run([tool], capture_output=True, text=True, env=env)
    if done.returncode:
        pytest.skip(f"no sources of llama-cpp-python: {done.stderr.strip()[-300:]}")
    path = tmp_path_factory.mktemp("llama-cpp")
    taken = set()
    for name, text in sources(done.stdout.strip()):
        for pattern in LINES:
            text, count = re.subn(rf"(?m)^( *)assert {pattern}$", r"\1pass", text)
            taken |= {pattern} if count else set()
        (path / name).write_text(text)
    assert taken == set(LINES), "an assertion to take out is not there any more"
    (path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow\n    serial\n")
    return path


def sources(sdist):
    wanted = {f"{name}.py" for name in MODULES}
    with tarfile.open(sdist, "r|gz") as archive:
        for member in archive:
            name = Path(member.name)
            if name.parts[-3:-1] == ("tests", "unit") and name.name in wanted:
                yield name.name, archive.extractfile(member).read().decode()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The example's stack on a free port, with a window that their prompts can exceed."""
    home = tmp_path_factory.mktemp("home")
    config = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    config["server"] = {"port": free_port(), "token": {"$env": "PEERS_TOKEN"}}
    (local,) = [plugin for plugin in config["plugins"] if plugin.get("name") == "local"]
    local["options"] |= {"context": 1024, "disk_cache_mib": 0}
    path = home / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    with serving(path, home):
        yield f"127.0.0.1:{config['server']['port']}"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(config, home):
    command = [str(Path(sys.executable).with_name("plugway")), "serve", "--config", str(config)]
    env = {"PATH": os.defpath, "HOME": str(home), "PEERS_TOKEN": TOKEN}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    reader = threading.Thread(target=process.stderr.read)  # so that its log never blocks it
    try:
        banner = ""
        while "listens on" not in banner:
            line = process.stderr.readline()
            assert line, f"`plugway serve` ended: {banner}"
            banner += line
        reader.start()
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)
        if reader.ident:
            reader.join()
        process.stderr.close()


def outcomes(folder, module, address):
    """Results of a module's tests by name: `passed`, `skipped`, or pytest's failure message."""
    report = folder / f"{module}.xml"
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "--rootdir", ".", "-q"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}", f"{module}.py"]
    env = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).with_name("peers")),
        "PEERS_ADDRESS": address,
        "PEERS_TOKEN": TOKEN,
    }
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert report.exists(), done.stdout + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        problems = [child for child in case if child.tag in ("failure", "error", "skipped")]
        texts = (f"{child.tag}: {child.get('message')}\n{child.text}" for child in problems)
        found[case.get("name")] = "\n".join(texts) or "passed"
    return found


def belongs(name, row):
    return name == row or name.startswith(row if "[" in row else f"{row}[")


@pytest.mark.parametrize("module", MODULES)
def test_it_answers_as_llama_server_does_except_for_what_is_listed(folder, address, module):
    found = outcomes(folder, module, address)
    assert found, "their module has no test"
    wrong = {}
    for name, outcome in found.items():
        rows = [row for row in DIFFERENT if belongs(name, row.name)]
        if any(belongs(name, skipped) for skipped in SKIPPED):
            right = outcome.startswith("skipped: ")
        elif rows:
            right = outcome.startswith("failure: ") and any(row.failure in outcome for row in rows)
        else:
            right = outcome == "passed"
        if not right:
            wrong[name] = outcome[:1500]
    assert not wrong, "\n\n".join(f"{name}: {outcome}" for name, outcome in wrong.items())


def test_every_row_names_a_test_of_theirs(folder):
    text = "".join((folder / f"{name}.py").read_text() for name in MODULES)
    names = [row.name.partition("[")[0] for row in DIFFERENT] + list(SKIPPED)
    assert [name for name in names if f"def {name}(" not in text] == []


def test_the_gateway_still_answers_afterwards(address):
    said = httpx2.get(f"http://{address}/health", trust_env=False)
    assert said.status_code == 200
