"""The clients in `docs/clients.md`: their versions, how a test runs them, and how it checks them.

The setup is read from that page, so that the page describes what was tested.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio

from tests.e2e.claude import Answer
from tests.e2e.client_packages import installed
from tests.e2e.scripted_model import COMMAND, CONTENT, FILE, Step

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/clients.md"
PROGRAMS = Path(__file__).parent / "programs"
NODE = "node@24.21.0"
"""Versions of Node.js on npm, for clients that need a newer one than this machine may have."""
PROMPT = "Write the file and run the command."
_FILE = re.compile(r"^`~/([^`]+)`:\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE)
_EXPORT = re.compile(r"^export (\w+)=(.*)$", re.MULTILINE)
_CODE = re.compile(r"^```(?:python|js)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Client:
    """One client at one version."""

    title: str
    """As its section in the page is called; after a comma, how this row differs from the first."""
    packages: Sequence[str]
    """Packages that npm or, with `==`, pip installs; the first is the client itself."""
    command: Sequence[str]
    """Command line: a command of the package, or a program next to this file, and its arguments."""
    writes: Sequence[Step]
    runs: Sequence[Step]
    ends: Step | None = None
    mark: str = ""
    """Text before a result, if the client sends results as text."""
    edits: str = ""
    """The reply that makes it write the file, if it has no tools; it runs the command itself."""
    may_refuse: Sequence[str] = ()
    """Requests that the gateway may refuse because the client then tries another way."""
    teaches: Sequence[str] = ()
    """Requests in the server's own API that the server refuses, and the gateway then adapts."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Settings in addition to the page's: no telemetry, no updates."""
    model: str = ""
    """Name of the model in its requests, if it differs from the page's."""
    warnings: Sequence[str] = ()
    """Patterns of lines that the gateway may log about it."""

    @property
    def section(self) -> str:
        """The page's section about it."""
        page = PAGE.read_text()
        head = f"\n## {self.title.partition(',')[0]}\n"
        assert head in page, f"{PAGE.name} has no section {head.strip()!r}"
        return page.partition(head)[2].partition("\n## ")[0]

    def files(self) -> dict[str, str]:
        """Files that the page tells the user to write, by their path under the home folder."""
        return dict(_FILE.findall(self.section))

    def exports(self) -> dict[str, str]:
        """Environment variables that the page tells the user to set."""
        return dict(_EXPORT.findall(self.section))

    def program(self) -> Path | None:
        """The program to run, if it is not a command of the package."""
        path = PROGRAMS / self.command[0]
        return path if path.is_file() else None

    def code(self) -> str:
        """The lines of the program that the page shows."""
        return "".join(_CODE.findall(self.section))


async def run(
    client: Client, folder: Path, url: str, token: str, model: str, prompt: str = PROMPT
) -> Answer:
    """Run the client to its end in `folder/project`, isolated from the user's own settings."""
    home, project = folder / "home", folder / "project"
    said = {
        "http://127.0.0.1:8484": url,
        "anthropic/local/demo": client.model or model,
        "PLUGWAY_TOKEN_HERE": token,
        "{project}": str(project),
        "{home}": str(home),
        "{prompt}": prompt,
    }

    def set_up(text: str) -> str:
        for words, value in said.items():
            text = text.replace(words, value)
        return text

    for name, text in client.files().items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(set_up(text))
    found, node = installed(tuple(client.packages)), installed((NODE,))
    words = [str(found / client.command[0])]
    if program := client.program():
        place = folder / "program"
        place.mkdir()
        (place / "node_modules").symlink_to(found.parent)
        for beside in (program, PROGRAMS / "work.py"):
            (place / beside.name).write_text(set_up(beside.read_text()))
        interpreter = node / "node" if program.suffix == ".mjs" else found / "python"
        words = [str(interpreter), str(place / program.name)]
    env = {"HOME": str(home), "PATH": f"{found}:{node}:{os.defpath}", "LANG": "C.UTF-8"}
    env |= {name: set_up(text) for name, text in {**client.exports(), **client.env}.items()}
    words += [set_up(word) for word in client.command[1:]]
    with anyio.fail_after(300):
        done = await anyio.run_process(
            words,
            env=env,
            cwd=project,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


# ── the clients ──────────────────────────────────────────────────────────────────────────────────

_CODEX = Client(
    "Codex CLI",
    ["@openai/codex@0.171.0"],
    [
        *("codex", "exec", "--skip-git-repo-check"),
        *("--dangerously-bypass-approvals-and-sandbox", "{prompt}"),
    ],
    writes=[Step("exec_command", {"cmd": "apply_patch <<'PATCH'\n{patch}\nPATCH"})],
    runs=[Step("exec_command")],
)
"""An unknown model gets functions only; one of OpenAI's model names gets that model's tools."""

_OPENAI, _ANTHROPIC = "openai==3.57.0", "anthropic==2.14.0"
_PYDANTIC_AI = "pydantic-ai-slim[openai,anthropic,google]==2.68.0"
_AGENTS = "openai-agents==0.24.0"
_LANGCHAIN = (
    "langchain==1.5.2 langchain-openai==1.7.4 langchain-anthropic==1.7.10 "
    "langchain-google-genai==4.4.3"
)
_STRANDS = "strands-agents[anthropic,openai,gemini]==1.62.0"


def _program(title: str, packages: str, *command: str) -> Client:
    """A program next to this file whose model has `write_file` and `run_command`."""
    steps = {"writes": [Step("write_file")], "runs": [Step("run_command")]}
    return Client(title, packages.split(), [*command, "{prompt}"], **steps)


CLIENTS = [
    _CODEX,
    replace(
        _CODEX,
        title="Codex CLI, gpt-5.5",
        model="gpt-5.5",
        writes=[Step("apply_patch", {"input": "{patch}"})],
    ),
    replace(
        _CODEX,
        title="Codex CLI, gpt-6.2-sol",
        model="gpt-6.2-sol",
        writes=[Step("functions__exec", {"input": "text(await tools.apply_patch({patch:json}));"})],
        runs=[
            Step(
                "functions__exec",
                {"input": "text(await tools.exec_command({cmd: {command:json}}));"},
            )
        ],
    ),
    *(
        Client(
            f"AI SDK, {provider}, {how}",
            [
                "ai@7.0.173",
                "@ai-sdk/openai@4.0.118",
                "@ai-sdk/openai-compatible@3.0.92",
                "@ai-sdk/anthropic@4.0.105",
                "zod@4.6.7",
            ],
            ["ai_sdk.mjs", provider, how, "{prompt}"],
            writes=[Step("write_file")],
            runs=[Step("run_command")],
        )
        for provider, how in (
            ("openai", "streamText"),
            ("openai", "generateText"),
            ("compatible", "streamText"),
            ("anthropic", "streamText"),
        )
    ),
    *(
        Client(
            f"opencode, {speaks}",
            ["opencode-ai@1.18.33"],
            [
                "opencode",
                "run",
                "--auto",
                "--model",
                f"{provider}/anthropic/local/demo",
                "{prompt}",
            ],
            writes=[Step("write"), Step("apply_patch", {"patchText": "{patch}"})],
            runs=[Step("bash")],
            teaches=["'max_tokens' is not supported with this model", "cache_control"],
            env={
                "OPENCODE_DISABLE_AUTOUPDATE": "1",
                "OPENCODE_DISABLE_MODELS_FETCH": "1",
                "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
            },
        )
        for speaks, provider in (
            ("Chat", "plugway"),
            ("Responses", "plugway-responses"),
            ("Messages", "plugway-messages"),
        )
    ),
    *(
        Client(
            f"pi, {speaks}",
            ["@earendil-works/pi-coding-agent@1.6.0"],
            ["pi", "--print", "--model", f"{provider}/anthropic/local/demo", "{prompt}"],
            writes=[Step("write")],
            runs=[Step("bash")],
            env={"PI_OFFLINE": "1", "PI_TELEMETRY": "0"},
        )
        for speaks, provider in (
            ("Chat", "plugway"),
            ("Responses", "plugway-responses"),
            ("Messages", "plugway-messages"),
        )
    ),
    *(
        Client(
            f"Qwen Code, {speaks}",
            ["@qwen-code/qwen-code@0.24.4"],
            ["qwen", "--yolo", "--auth-type", kind, "{prompt}"],
            writes=[Step("write_file")],
            runs=[Step("run_shell_command")],
            teaches=["'max_tokens' is not supported with this model"],
        )
        for speaks, kind in (
            ("Chat", "openai"),
            ("Responses", "openai-responses"),
            ("Messages", "anthropic"),
        )
    ),
    *(
        Client(
            f"cline, {speaks}",
            ["cline@3.0.65"],
            [
                "cline",
                "-P",
                provider,
                "-m",
                "anthropic/local/demo",
                "{prompt}",
            ],
            writes=[
                Step("editor", {"new_text": "{content}"}),
                Step("apply_patch", {"input": "{patch:ended}"}),
            ],
            runs=[Step("run_commands")],
            env={
                "CLINE_TELEMETRY_DISABLED": "1",
                "CLINE_SANDBOX": "1",
                "CLINE_SANDBOX_DATA_DIR": "{home}/.cline/data",
            },
        )
        for speaks, provider in (("Chat", "openai-compatible"), ("Messages", "anthropic"))
    ),
    *(
        Client(
            f"aider, {speaks}",
            ["aider-chat==0.86.2"],
            [
                "aider",
                "--model",
                f"{provider}/anthropic/local/demo",
                *("--edit-format", "whole", "--no-git", "--yes-always", "--analytics-disable"),
                *("--no-check-update", "--no-show-model-warnings", "--no-show-release-notes"),
                *("--auto-test", "--test-cmd", f"{COMMAND}; false"),
                *("--message", "{prompt}", FILE),
            ],
            writes=[],
            runs=[],
            edits=f"{FILE}\n```\n{CONTENT}```",
            env={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
        for speaks, provider in (("Chat", "openai"), ("Messages", "anthropic"))
    ),
    Client(
        "Gemini CLI",
        ["@google/gemini-cli@0.61.0"],
        [
            "gemini",
            "--model",
            "anthropic/local/demo",
            "--skip-trust",
            "--yolo",
            "--prompt",
            "{prompt}",
        ],
        writes=[Step("write_file")],
        runs=[Step("run_shell_command")],
    ),
    _program("OpenAI SDK for Python, Chat", _OPENAI, "openai_sdk.py", "chat", "stream"),
    _program("OpenAI SDK for Python, Responses", _OPENAI, "openai_sdk.py", "responses", "stream"),
    _program(
        "OpenAI SDK for Python, Responses, whole", _OPENAI, "openai_sdk.py", "responses", "whole"
    ),
    _program("Anthropic SDK for Python, stream", _ANTHROPIC, "anthropic_sdk.py", "stream"),
    replace(
        _program("Anthropic SDK for Python, runner", _ANTHROPIC, "anthropic_sdk.py", "runner"),
        may_refuse=[
            "400 refused with status 400 (invalid_request_error)",
            "400 invalid_request_error",
            "no threads",
        ],
    ),
    *(
        _program(f"Pydantic AI, {api}", _PYDANTIC_AI, "pydantic_ai_loop.py", api)
        for api in ("chat", "responses", "messages", "gemini")
    ),
    *(
        _program(f"OpenAI Agents SDK, {api}", _AGENTS, "openai_agents_loop.py", api, "stream")
        for api in ("responses", "chat")
    ),
    *(
        _program(f"LangChain, {api}", _LANGCHAIN, "langchain_loop.py", api, "stream")
        for api in ("chat", "responses", "messages", "gemini")
    ),
    *(
        _program(f"Strands Agents, {api}", _STRANDS, "strands_loop.py", api)
        for api in ("chat", "responses", "messages", "gemini")
    ),
    *(
        _program(
            f"Google Gen AI SDK for Python, {how}", "google-genai==3.6.1", "google_genai.py", how
        )
        for how in ("stream", "whole")
    ),
    *(
        _program(f"Google ADK, {how}", "google-adk==2.13.0", "google_adk.py", how)
        for how in ("stream", "whole")
    ),
    *(
        _program(f"LiteLLM, {api}", "litellm==1.110.2", "litellm_loop.py", api)
        for api in ("chat", "messages", "gemini")
    ),
    replace(
        _program("smolagents", "smolagents[openai]==1.26.0", "smolagents_loop.py", "stream"),
        ends=Step("final_answer", {"answer": "{words}"}),
        mark="Observation:\n",
    ),
    replace(
        _program("instructor", "instructor==1.17.0", "instructor_loop.py", "TOOLS"),
        writes=[Step("Step", {"what": "write", "path": "{path}", "content": "{content}"})],
        runs=[Step("Step", {"what": "run", "command": "{command}"})],
        ends=Step("Step", {"what": "say", "words": "{words}"}),
    ),
]
