"""Other gateways in front of the same upstream: their configuration and start.

None of them is installed by this repository; give the paths of those you have:
`python -m bench.gateway --others litellm=PATH ccr=PATH`. Each gets its simplest configuration that
relays requests in the format of the Messages API or, with `--api chat`, translates them to Chat
Completions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Api = Literal["messages", "chat"]
"""The API of the upstream; the clients use the Messages API."""
PARTS: Mapping[Api, Sequence[str]] = {
    "messages": ("requests", "first_byte", "streams"),
    "chat": ("requests", "first_byte", "streams", "paced", "dense"),
}
"""Parts of bench.load for them: some never notice a client disconnect, which takes minutes."""


@dataclass(frozen=True)
class Setting:
    """The program, its port, and its upstream."""

    program: str
    folder: Path
    port: int
    upstream: str
    token: str
    api: Api


@dataclass(frozen=True)
class Other:
    """A command whose configuration file has been written."""

    command: Sequence[str]
    environment: Mapping[str, str]


def _litellm(at: Setting) -> Other:
    """LiteLLM's proxy (docs.litellm.ai, "Proxy config"), one worker, logging off.

    It translates to Chat Completions for `hosted_vllm`; for `openai` it takes Responses.
    """
    config = at.folder / "litellm.yaml"
    model = {"model": "anthropic/bench", "api_base": at.upstream, "api_key": "none"}
    if at.api == "chat":
        model |= {"model": "hosted_vllm/bench", "api_base": f"{at.upstream}/v1"}
    document = {
        "model_list": [{"model_name": "bench", "litellm_params": model}],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    command = [at.program, "--config", str(config), "--host", "127.0.0.1", "--port", str(at.port)]
    environment = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no key lookup
    }
    return Other(command, environment)


def _ccr(at: Setting) -> Other:
    """claude-code-router 2.0 (its README, "Configuration").

    It translates to Chat Completions, except with its Anthropic transformer.
    """
    home = at.folder / "ccr"
    config = home / ".claude-code-router" / "config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    path = "messages" if at.api == "messages" else "chat/completions"
    provider: dict[str, object] = {
        "name": "bench",
        "api_base_url": f"{at.upstream}/v1/{path}",
        "api_key": "none",
        "models": ["bench"],
    }
    if at.api == "messages":
        provider["transformer"] = {"use": ["Anthropic"]}
    document = {
        "LOG": False,
        "HOST": "127.0.0.1",
        "PORT": at.port,
        "APIKEY": at.token,
        "Providers": [provider],
        "Router": {"default": "bench,bench"},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    return Other([at.program, "start"], {"HOME": str(home)})


OTHERS: Mapping[str, Callable[[Setting], Other]] = {
    "litellm": _litellm,
    "ccr": _ccr,
}
