"""Other gateways in front of the same upstream: how they are configured and started.

None of them is installed by this repository; give the path of what you have:
`python -m bench.gateway --others litellm=PATH ccr=PATH`. They are measured
as plainly as each can be set up to relay requests in the format of the Messages API.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PARTS = ("requests", "first_byte", "streams")
"""Parts of bench.load for them: some never notice a client that leaves, which takes minutes."""


@dataclass(frozen=True)
class Other:
    """A command with its configuration in place."""

    command: Sequence[str]
    environment: Mapping[str, str]


def _litellm(program: str, folder: Path, port: int, upstream: str, token: str) -> Other:
    """LiteLLM's proxy (docs.litellm.ai, "Proxy config"), one worker, logging off."""
    config = folder / "litellm.yaml"
    model = {"model": "anthropic/bench", "api_base": upstream, "api_key": "none"}
    document = {
        "model_list": [{"model_name": "bench", "litellm_params": model}],
        "litellm_settings": {"telemetry": False},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # no look-up of keys
    }
    return Other(command, environment)


def _ccr(program: str, folder: Path, port: int, upstream: str, token: str) -> Other:
    """claude-code-router 2.0 (its README, "Configuration"), with its Anthropic transformer."""
    home = folder / "ccr"
    config = home / ".claude-code-router" / "config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    provider = {
        "name": "bench",
        "api_base_url": f"{upstream}/v1/messages",
        "api_key": "none",
        "models": ["bench"],
        "transformer": {"use": ["Anthropic"]},
    }
    document = {
        "LOG": False,
        "HOST": "127.0.0.1",
        "PORT": port,
        "APIKEY": token,
        "Providers": [provider],
        "Router": {"default": "bench,bench"},
    }
    config.write_text(json.dumps(document), encoding="utf-8")
    return Other([program, "start"], {"HOME": str(home)})


OTHERS: Mapping[str, Callable[[str, Path, int, str, str], Other]] = {
    "litellm": _litellm,
    "ccr": _ccr,
}
