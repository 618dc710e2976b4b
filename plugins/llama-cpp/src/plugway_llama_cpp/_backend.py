"""The backend: what `EngineBackend` does not do for GGUF models, such as embedding.

The worker renders, counts and decodes; `_models` knows the worker of each model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugway import Attempt, InvalidRequest
from plugway_embeddings import Embedded, Wanted
from plugway_llama_cpp._embedding import vectors_of
from plugway_llama_cpp._memory import Plan, resident_memory
from plugway_llama_cpp._models import Facts, Models
from plugway_llama_cpp._options import LlamaCppOptions
from plugway_local_engine import EngineBackend, Loaded


class LlamaCppBackend(EngineBackend[Facts, Plan]):
    """One instance: a configured model, and others of the models folder on demand."""

    def __init__(self, name: str, options: LlamaCppOptions) -> None:
        self._models = Models(name, options)
        super().__init__(name, self._models)

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """Vectors of length 1 (`Embeds`).

        Raises:
            InvalidRequest: the model is not an embedding model, or the input does not suit it.
            BackendError: the model cannot be loaded, or its worker failed.
        """
        loaded = await self.loader.get(attempt.model, attempt.note)
        if not loaded.facts.header.embeds:
            what = f"model: `{loaded.file.name}` is not an embedding model"
            raise InvalidRequest(what, retry=False, record=True)
        return await vectors_of(loaded.supervisor, wanted, attempt, loaded.file.name)

    async def speaking(self, attempt: Attempt) -> Loaded[Facts, Plan]:
        """The model of a request for text. Raises `InvalidRequest` for an embedding model."""
        loaded = await super().speaking(attempt)
        if loaded.facts.header.embeds:
            what = (
                f"model: `{loaded.file.name}` is an embedding model; request it at /v1/embeddings"
            )
            raise InvalidRequest(what, retry=False, record=True)
        return loaded

    def with_states(self) -> Sequence[Loaded[Facts, Plan]]:
        """All but embedding models."""
        return [model for model in super().with_states() if not model.facts.header.embeds]

    def notice(self, name: str) -> str:
        """Why the model did not fit when it was last to be loaded."""
        return self._models.misfit(name) or super().notice(name)

    def memory_of(self, loaded: Loaded[Facts, Plan]) -> tuple[int, int]:
        """By plan, or as much as the worker has resident; mapped weights can be read again."""
        resident, mapped = resident_memory(loaded.supervisor.pid)
        return max(loaded.plan.total, resident), mapped

    def described(self, loaded: Loaded[Facts, Plan]) -> Mapping[str, Any]:
        """From the file's header."""
        header = loaded.facts.header
        able = {"embeddings"} if header.embeds else {"tools", "structured_output"}
        size = {"parameters": header.parameters, "bytes": header.size}
        return {
            "display_name": header.text("general.name") or loaded.file.name,
            "capabilities": frozenset({*able, *(["images"] if loaded.facts.mmproj else [])}),
            "extra": {"architecture": header.architecture, **size},
        }
