"""Models that are on this machine already: in the models folder, in Ollama and in LM Studio.

Only loopback addresses are asked, and only for a moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import httpx2

from plugway import as_list, as_object
from plugway_local_models._advice import Installed
from plugway_local_models._kinds import model_kinds

OLLAMA: Final = "http://127.0.0.1:11434"
LMSTUDIO: Final = "http://127.0.0.1:1234"
_SECONDS: Final = 0.5
_OWNERS: Final = {"GGUF": "llama-cpp", "MLX": "mlx"}
"""The plugins that load the kinds of models."""


def installed_models(ollama: str = OLLAMA, lmstudio: str = LMSTUDIO) -> tuple[Installed, ...]:
    """Models in the models folder, and those that Ollama and LM Studio list."""
    return (*_in_folder(), *_in_ollama(ollama), *_in_lmstudio(lmstudio))


def _in_folder() -> Iterator[Installed]:
    for kind in model_kinds():
        owner = _OWNERS.get(kind.title, kind.title)
        yield from (Installed(owner, model.name) for model in kind.models())


def _in_ollama(url: str) -> Iterator[Installed]:
    """`GET /api/tags` of Ollama's API; models of its cloud are not here."""
    for item in map(as_object, as_list(_get(f"{url}/api/tags").get("models"))):
        if (name := item.get("name")) and not item.get("remote_host"):
            yield Installed("ollama", str(name))


def _in_lmstudio(url: str) -> Iterator[Installed]:
    """`GET /v1/models` of LM Studio's OpenAI-compatible API."""
    for item in map(as_object, as_list(_get(f"{url}/v1/models").get("data"))):
        if name := item.get("id"):
            yield Installed("lmstudio", str(name))


def _get(url: str) -> dict[str, Any]:
    """The JSON object at a loopback address; empty if nothing answers soon, or something else."""
    with (
        suppress(httpx2.HTTPError, ValueError, RecursionError),
        httpx2.Client(timeout=_SECONDS, trust_env=False, verify=False) as client,  # plain HTTP
    ):
        return dict(as_object(client.get(url).json()))
    return {}
