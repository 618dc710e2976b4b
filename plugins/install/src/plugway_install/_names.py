"""Names of packages: which are Plugway's own, and which only look like it."""

from __future__ import annotations

from difflib import get_close_matches

from packaging.utils import canonicalize_name

from plugway import PlugwayError

_OWN = """
accounts anthropic anthropic-compatible anthropic-wire apple-intelligence audit-log auto-mode
bench budget-tree budgets cache-watch capabilities claude-client claude-code codex commands
context-guard dashboard demo-model doctor echo embeddings endpoints error-normalizer
field-policy gemini gemini-api grants http install keyring llama-cpp llama-server lmstudio
local-answers local-engine local-models log mcp media memory mlx ocr ollama openai openai-api
openai-compatible openai-wire packages prices probe recommend recorder resilience router
server-tools service sign-in signature speech-to-text starter store switch system-tools
telemetry testing text-to-speech thinking tool-repair toolbelt toolcalls tools translation
upscale upstream-errors vllm wire
"""
OWN = frozenset(_OWN.split())
"""The packages of this repository besides the kernel, without `plugway-`; each is a folder."""


def own_folder(name: str) -> str:
    """The folder in the clone of Plugway that has a package of this name; empty for others."""
    name = canonicalize_name(name)
    if name == "plugway":
        return "./kernel"
    short = name.removeprefix("plugway-")
    return f"./plugins/{short}" if short != name and short in OWN else ""


def refuse_own(name: str) -> None:
    """Raise `PlugwayError` if a package of this name must not come from an index."""
    if folder := own_folder(name):
        raise PlugwayError(
            f"`{name}` is a package of Plugway, which is not published on an index: install it from"
            f" a clone (`plugway install {folder}`), or from its wheels with `--from FOLDER`"
        )


def resembles_own(name: str) -> str:
    """The package of Plugway whose name is confusingly similar; empty if there is none."""
    name = canonicalize_name(name)
    if own_folder(name):
        return ""
    close = get_close_matches(name, [f"plugway-{short}" for short in OWN], n=1, cutoff=0.9)
    return close[0] if close else ""
