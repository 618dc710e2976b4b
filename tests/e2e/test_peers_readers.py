"""The chat templates that llama.cpp ships, and llama-server's own readers, against `plugway-toolcalls`.

Both come from the source distribution of llama-cpp-python. Which family a template belongs to stands in
`KNOWN`; what the template itself writes for two calls must be read back. Where llama-server reads a call
differently, the reason stands in `DIFFERENT`, and a row that is no longer true is an error.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from plugway_local_engine import ChatTemplate
from plugway_toolcalls import FAMILIES, OutputParser, Tool, detect_family, own_format, write_call
from plugway_toolcalls.testing import as_blocks

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).resolve().parents[2]
BY_NAME = {family.name: family for family in FAMILIES}
KNOWN = {
    "Apertus-8B-Instruct": "apertus",
    "Apriel-1.6-15b-Thinker-fixed": "apriel",
    "Bielik-11B-v3.0-Instruct": "hermes",
    "ByteDance-Seed-OSS": "seed-oss",
    "Cohere2MoE": "cohere",
    "CohereForAI-c4ai-command-r-plus-tool_use": "command-r",
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use": "cohere",
    "GLM-4.6": "glm",
    "GLM-4.7-Flash": "glm4.7",
    "GigaChat3-10B-A1.8B": "gigachat3",
    "GigaChat3.1-10B-A1.8B": "gigachat3.1",
    "HuggingFaceTB-SmolLM3-3B": "generic",
    "Kimi-K2-Instruct": "kimi",
    "Kimi-K2-Thinking": "kimi",
    "Kimi-K3": "kimi-k3",
    "LFM2-8B-A1B": "lfm2",
    "LFM2.5-8B-A1B": "lfm2",
    "LFM2.5-Instruct": "lfm2",
    "MiMo-VL": "hermes",
    "MiniMax-M1": "minimax-m1",
    "MiniMax-M2": "minimax",
    "MiniMax-M3": "minimax-m3",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen-coder",
    "NVIDIA-Nemotron-Nano-v2": "nemotron",
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen3-Coder": "qwen-coder",
    "Qwen3.5-4B": "qwen-coder",
    "Reka-Edge": "hermes",
    "Spark2.5": "glm4.7",
    "StepFun3.5-Flash": "qwen-coder",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "deepseek",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "deepseek",
    "deepseek-ai-DeepSeek-V3.1": "deepseek-v3.1",
    "deepseek-ai-DeepSeek-V3.2": "deepseek-v3.2",
    "deepseek-ai-DeepSeek-V4": "deepseek-v4",
    "deepseek-ai-DeepSeek-V4-Flash-0731": "deepseek-v4",
    "fireworks-ai-llama-3-firefunction-v2": "functools",
    "google-gemma-2-2b-it": "gemma",
    "google-gemma-4-31B-it": "gemma4",
    "google-gemma-4-31B-it-interleaved": "gemma4",
    "ibm-granite-granite-3.3-2B-Instruct": "granite",
    "ibm-granite-granite-4.0": "hermes",
    "ibm-granite-granite-4.1": "hermes",
    "inclusionai-ling-3.0-flash": "glm",
    "llama-cpp-deepseek-r1": "deepseek",
    "llama-cpp-rwkv-world": "generic",
    "meetkai-functionary-medium-v3.1": "functionary",
    "meetkai-functionary-medium-v3.2": "functionary-v3.2",
    "meta-llama-Llama-3.1-8B-Instruct": "llama",
    "meta-llama-Llama-3.2-3B-Instruct": "llama",
    "meta-llama-Llama-3.3-70B-Instruct": "llama",
    "microsoft-Phi-3.5-mini-instruct": "generic",
    "mistralai-Ministral-3-14B-Reasoning-2512": "mistral",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral-v3",
    "moonshotai-Kimi-K2": "kimi",
    "muse-glimmer": "muse",
    "openai-gpt-oss-120b": "harmony",
    "openbmb-MiniCPM5-1B": "minicpm",
    "poolside-Laguna-S-2.1": "glm4.7",
    "poolside-Laguna-XS-2.1": "glm",
    "poolside-Laguna-XS.2": "glm",
    "tencent-Hy3": "hunyuan",
    "unsloth-Apriel-1.5": "apriel",
    "unsloth-mistral-Devstral-Small-2507": "mistral",
    "upstage-Solar-Open-100B": "solar",
}
WRITES_NONE = {
    "HuggingFaceTB-SmolLM3-3B": "it writes no calls of an earlier turn",
    "LFM2-8B-A1B": "it writes no calls of an earlier turn",
    "LFM2.5-Instruct": "it writes no calls of an earlier turn",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "with an empty content it writes no calls",
    "fireworks-ai-llama-3-firefunction-v2": "it takes its tools as `functions`",
    "google-gemma-2-2b-it": "it knows no tools",
    "ibm-granite-granite-3.3-2B-Instruct": "it writes no calls of an earlier turn",
    "llama-cpp-deepseek-r1": "it fails in our sandbox, which has no `map` with an attribute",
    "llama-cpp-rwkv-world": "it knows no tools",
    "microsoft-Phi-3.5-mini-instruct": "it knows no tools",
}
UNREADABLE = {
    "LFM2.5-8B-A1B": "it escapes nothing in a string, so that a quote in one ends it",
}
"""Templates whose own writing is not read back."""
DIFFERENT = {
    "CohereForAI-c4ai-command-r-plus-tool_use": "llama-server cannot render the template",
    "HuggingFaceTB-SmolLM3-3B": "llama-server takes the template for one without tools",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "llama-server takes it for one without tools",
    "google-gemma-2-2b-it": "llama-server reads no calls where the template knows no tools",
    "ibm-granite-granite-3.3-2B-Instruct": "llama-server takes it for one without tools",
    "llama-cpp-rwkv-world": "llama-server reads no calls where the template knows no tools",
    "microsoft-Phi-3.5-mini-instruct": "llama-server reads no calls where it knows no tools",
    "mistralai-Mistral-Nemo-Instruct-2407": "llama-server insists on an `id` in the call",
    "muse-glimmer": "llama-server insists on the recipient's header, which we read but do not write",
    "upstage-Solar-Open-100B": "llama-server takes the text before the reply to be empty",
}
"""Templates with which llama-server does not read what we write, and why."""
WRITE = Tool(
    "Write",
    "Writes a file",
    {
        "type": "object",
        "properties": {
            "content": {"type": "string", "description": "text"},
            "file_path": {"type": "string", "description": "path"},
            "count": {"type": "integer", "description": "a number"},
            "flag": {"type": "boolean", "description": "a switch"},
            "edits": {
                "type": "array",
                "description": "changes",
                "items": {
                    "type": "object",
                    "properties": {"old": {"type": "string"}, "new": {"type": "string"}},
                },
            },
        },
        "required": ["content"],
    },
)
READ = Tool(
    "Read",
    "Reads a file",
    {"type": "object", "properties": {"file_path": {"type": "string", "description": "path"}}},
)
TOOLS = [tool.for_template() for tool in (WRITE, READ)]
CALLS = [
    (
        "Write",
        {
            "content": "x\n<b> 'q' \"d\" \\n {1} é\t",
            "file_path": "/a.txt",
            "count": 5,
            "flag": True,
            "edits": [{"old": "a", "new": "b\n"}],
        },
    ),
    ("Read", {"file_path": "/b.txt"}),
]


@pytest.fixture(scope="module")
def templates():
    """The templates by name."""
    tool = ROOT / "tools/llama-cpp-sources"
    done = subprocess.run(
        [tool], capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable}
    )
    if done.returncode:
        pytest.skip(f"no sources of llama-cpp-python: {done.stderr.strip()[-300:]}")
    found = {}
    with tarfile.open(done.stdout.strip(), "r|gz") as archive:
        for member in archive:
            path = Path(member.name)
            if path.suffix == ".jinja" and path.parts[-3:-1] == ("models", "templates"):
                found[path.stem] = archive.extractfile(member).read().decode()
    return found


def test_each_template_belongs_to_its_family(templates):
    assert {name: detect_family(source).name for name, source in templates.items()} == KNOWN


def turn(source, as_text):
    """What the template writes for two calls, or for one where it takes no more."""
    template = ChatTemplate(source)
    user = [{"role": "user", "content": "hello"}]
    before = template.render(user, TOOLS, add_generation_prompt=False)
    for count in (2, 1):
        calls = [
            {
                "type": "function",
                "id": f"abcdef{number:03}",
                "function": {"name": name, "arguments": json.dumps(given) if as_text else given},
            }
            for number, (name, given) in enumerate(CALLS[:count])
        ]
        message = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": calls}
        try:
            after = template.render([*user, message], TOOLS, add_generation_prompt=False)
        except ValueError:
            continue
        same = next(at for at, one in enumerate(after) if at >= len(before) or before[at] != one)
        text = after[same:]
        # Some write the first call only.
        return text, [call for call in CALLS[:count] if call[1]["file_path"] in text]
    return "", []


def begun(family, text):
    """Without the header of the turn, which differs from the prompt of a reply."""
    starts = [spec.opening for spec in family.calls] + [family.section[0].strip()]
    found = [at for start in starts if start and (at := text.find(start)) >= 0]
    if found and not family.header:
        return text[min(found) :]
    marks = ("<|end_header_id|>\n\n", "<|start|>assistant")
    return next((text.partition(mark)[2] for mark in marks if mark in text), text)


@pytest.mark.parametrize("name", sorted(KNOWN.keys() - WRITES_NONE.keys()))
def test_what_the_template_writes_is_read_back(name, templates):
    family = BY_NAME[KNOWN[name]]
    found, calls, text = [], [], ""
    for as_text in (False, True):
        try:
            text, calls = turn(templates[name], as_text)
        except ValueError:
            continue
        parser = OutputParser(family, (WRITE, READ))
        parts = [part for at in begun(family, text) for part in parser.feed(at)]
        found = [block[1:] for block in as_blocks(parts + parser.finish()) if block[0] == "call"]
        if found and found == calls:
            break
    assert (not found or found != calls) == (name in UNREADABLE), (found, text)


@pytest.fixture(scope="module")
def reader():
    """Asks llama-server's parser; see `tools/build-llama-reader`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "plugway-build"
    binaries = Path(os.environ.get("PLUGWAY_BUILD_CACHE", cache)).glob(
        "llama-server/*/bin/llama-reader"
    )
    binary = max(binaries, default=None)
    if binary is None:
        pytest.skip("no llama-reader; run tools/build-llama-reader")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([binary], text=True, **pipes) as process:

        def ask(template, reply):
            line = json.dumps({"template": template, "tools": TOOLS, "reply": reply})
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@pytest.mark.parametrize("name", sorted(KNOWN.keys() - WRITES_NONE.keys() | DIFFERENT.keys()))
def test_llama_server_reads_what_we_write(name, templates, reader):
    source, family = templates[name], BY_NAME[KNOWN[name]]
    prompt = reader(source, "").get("prompt", "").rstrip()
    closing = next((close for mark, close in family.reasoning if prompt.endswith(mark)), "")
    wrong = []
    for tool, given in CALLS:
        schema = {"Write": WRITE, "Read": READ}[tool].schema
        opening, ending = family.section
        text = opening + write_call(family, tool, given, schema) + ending
        if family.recipients is not None:
            text = text.removeprefix(family.recipients.opening)  # it ends the prompt
        reply = f"Hm.{closing}{text}" if closing else text
        parser = OutputParser(family, (WRITE, READ), thinking=bool(closing))
        ours = [b[1:] for b in as_blocks(parser.feed(reply) + parser.finish()) if b[0] == "call"]
        assert ours == [(tool, given)]
        said = reader(source, reply)
        theirs = [(found, json.loads(text or "{}")) for found, text in said.get("calls", ())]
        if theirs != ours:
            wrong.append((reply, said))
    assert bool(wrong) == (name in DIFFERENT), wrong


def test_each_row_is_about_a_template_that_is_there():
    assert {*WRITES_NONE, *UNREADABLE, *DIFFERENT} <= KNOWN.keys()
    assert all(own_format(BY_NAME[name]).shape for name in KNOWN.values())
