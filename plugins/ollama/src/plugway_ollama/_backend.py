"""The backend for Ollama: queries each model, and uses cloud models only with consent."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendUnavailable,
    Bounded,
    MessagesRequest,
    ModelInfo,
    Reply,
    as_list,
    as_object,
)
from plugway_anthropic_wire import AnthropicBackend, upstream_of, zone_of
from plugway_embeddings import Embedded, OpenAIEmbeddings, Wanted
from plugway_local_models.servers import InUse, Loading, becomes
from plugway_ollama._models import (
    info_of,
    is_cloud,
    is_cloud_name,
    is_variant,
    key_of,
    names_of,
    own_name,
    variant_name,
    window_for,
)
from plugway_ollama._options import OllamaOptions
from plugway_translation import Media

_ASKED_AT_ONCE = 8
_VARIANT = re.compile(r"-ctx\d+$")
_MOST_SILENT = 100
_SILENT_SECONDS = 60.0
MAKE_SECONDS = 30.0
"""Time limit for Ollama to write the manifest of a variant; no weights are copied."""
LOAD_SECONDS = 600.0
"""Time limit for Ollama to load a model."""
UNLOAD_SECONDS = 15.0
"""Time limit until `/api/ps` no longer lists an unloaded model."""


class OllamaBackend(OpenAIEmbeddings, AnthropicBackend):
    """Ollama, with the window of each model."""

    kind = "ollama"
    no_thinking: Mapping[str, Any] = {"thinking": {"type": "disabled"}}

    def __init__(self, name: str, options: OllamaOptions) -> None:
        upstream = upstream_of(options)
        leaves = options.cloud_models and not options.zone
        super().__init__(name, "ollama-cloud" if leaves else zone_of(options, upstream), upstream)
        self._options = options
        self._shown: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._silent_until: Bounded[str, float] = Bounded(_MOST_SILENT)
        """Models that `/api/show` did not report, and when it may be requested again."""
        self._variants: dict[str, str] = {}
        """Variants that were created, by the model's own name."""
        self._making = anyio.Lock()
        self._in_use = InUse()
        self._loading = Loading()

    async def __aexit__(self, *_: object) -> None:
        """Stop waiting for loads, and close every connection."""
        await self._loading.aclose()
        await super().__aexit__()

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Ollama's reply; a cloud model needs consent, because this backend's zone is `local`."""
        self._check_consent(attempt)
        sending = self._send(request, attempt)
        return await self._in_use.during(key_of(attempt.model), sending)

    async def _send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        name = await self._variant_of(attempt.model)
        if name != attempt.model:
            attempt.note(f"requested `{name}`, which is loaded with that window")
            request = request.replace(model=name, because="Ollama accepts no window in a request")
        return await super().send(request, attempt)

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """Ollama's embeddings; a cloud model needs consent here, too."""
        self._check_consent(attempt)
        with self._in_use.of(key_of(attempt.model)):
            return await super().embed(wanted, attempt)

    def _check_consent(self, attempt: Attempt) -> None:
        if not self._options.cloud_models and is_cloud_name(attempt.model):
            refused = BackendRefused(
                400,  # Claude Code reports 401 and 403 as its own failed authentication (2.1.332)
                b"",
                message=f"`{attempt.model}` runs on Ollama's own machines; set "
                f"`cloud_models: true` in the options of `{self.name}` to allow it",
                permanent=True,
            )
            refused.try_next = True
            raise refused

    def key_refused(self, refusal: BackendRefused) -> BackendError:
        """If Ollama itself is not signed in, no key in the configuration helps. It then returns a
        sign-in address (`AuthorizationError` of its `api/types.go`), which contains its own key
        and is not shown."""
        if b'"signin_url"' not in refusal.body:
            return super().key_refused(refusal)
        what = (
            f"the Ollama server of `{self.name}` is not signed in, which its cloud models require"
        )
        return BackendRefused(
            401,
            b"",
            headers=refusal.headers,
            message=f"{what}. Run `ollama signin` where Ollama runs, or choose a model that runs "
            "there",
            permanent=True,
            record=what,
        )

    async def sees_images(self, model: str) -> bool | None:
        """Whether `/api/show` lists `vision` for a model; older servers do not state it."""
        able = (await self._show(model, "")).get("capabilities")
        return "vision" in as_list(able) if able else None

    async def thinks(self, model: str) -> bool:
        """Whether `/api/show` lists `thinking` for a model: Ollama then lets it think by default
        (`ChatHandler` of its `server/routes.go`). After a failure it is not requested again for
        a minute, because every request would wait for it."""
        if time.monotonic() < self._silent_until.get(model, 0.0):
            return False
        shown: Mapping[str, Any] = {}
        try:
            shown = await self._show(model, "")
        finally:
            if not shown:
                self._silent_until[model] = time.monotonic() + _SILENT_SECONDS
        return "thinking" in as_list(shown.get("capabilities"))

    def unfit(self, media: Media) -> str:
        """Ollama silently drops documents, and rejects images that are not in the request
        (`convertMessage` and `resolveImageSource` of its `anthropic/anthropic.go`)."""
        if media.kind == "document":
            return "Ollama accepts no documents"
        return "" if media.data else "Ollama does not fetch images"

    async def _variant_of(self, model: str) -> str:
        """The model to request, so that it is loaded with the configured window.

        Ollama's Messages API accepts neither `options` nor `num_ctx` (`MessagesRequest` of its
        `anthropic/anthropic.go`), and reloads the model if a request differs from what is loaded:
        the window has to belong to the model (`POST /api/create` with `parameters`, see its API
        reference).

        Raises:
            BackendError: the variant could not be created.
        """
        wanted = self._options.context_tokens
        if not wanted or is_cloud_name(model):
            return model
        async with self._making:
            if model not in self._variants:
                shown = await self._show(model, "")
                name = variant_name(model, shown, wanted)
                if not shown:  # not pulled: Ollama reports that, instead of pulling it
                    return model
                if name != model:
                    await self._make(name, model, window_for(shown, wanted))
                self._variants[model] = name
        return self._variants[model]

    async def _make(self, name: str, model: str, window: int) -> None:
        asked = {"model": name, "from": model, "parameters": {"num_ctx": window}, "stream": False}
        body = orjson.dumps(asked)
        try:
            await self.upstream.fetch_json("/api/create", body=body, seconds=MAKE_SECONDS)
        except BackendRefused as error:
            raise BackendRefused(
                error.status,
                error.body,
                headers=error.headers,
                message=f"Ollama could not create `{name}` ({error.message}); start it with "
                f"`OLLAMA_CONTEXT_LENGTH={window}` and remove `context_tokens` from the options of "
                f"`{self.name}`",
                permanent=True,
                record=f"Ollama could not create `{name}`",
            ) from None

    async def models(self) -> Sequence[ModelInfo]:
        """The pulled models, each with the window that it has now or would be loaded with."""
        entries = await self._entries()
        running = names_of(await self.upstream.fetch_json("/api/ps"))
        if not self._options.cloud_models:
            entries = {name: entry for name, entry in entries.items() if not is_cloud(entry)}
        found: dict[str, Mapping[str, Any]] = {}
        limiter = anyio.CapacityLimiter(_ASKED_AT_ONCE)

        async def show(name: str, entry: Mapping[str, Any]) -> None:
            async with limiter:
                found[name] = await self._show(name, str(entry.get("digest", "")))

        async with anyio.create_task_group() as group:
            for name, entry in entries.items():
                group.start_soon(show, name, entry)
        default, wanted = self._options.default_context_tokens, self._options.context_tokens
        infos: list[ModelInfo] = []
        for name, entry in entries.items():
            if wanted and is_variant(name, entries):
                continue
            shown, loaded = found[name], running.get(name)
            if wanted and shown and not is_cloud(entry):
                asked_for = variant_name(name, shown, wanted)
                loaded = running.get(asked_for)
                shown = {**shown, "parameters": f"num_ctx {window_for(shown, wanted)}"}
            infos.append(info_of(entry, shown, loaded, default))
        return infos

    async def load(self, model: str) -> None:
        """Load a model as requests do: with the configured window, for Ollama's own `keep_alive`.

        `POST /api/generate` without a prompt, and `POST /api/embed` without input for an embedding
        model (`GenerateHandler` and `EmbedHandler` of its `server/routes.go`).

        Raises:
            BackendError: Ollama cannot load it, or does not have it.
        """
        if is_cloud_name(model):
            message = f"`{model}` runs on Ollama's own machines and is never loaded here"
            raise BackendRefused(400, b"", message=message, permanent=True)
        name = await self._variant_of(model)
        await self._loading.join(key_of(name), partial(self._load, name))

    async def _load(self, name: str) -> None:
        able = as_list((await self._show(name, "")).get("capabilities"))
        path, asked = "/api/generate", dict[str, Any](model=name, stream=False)
        if "embedding" in able and "completion" not in able:
            path, asked = "/api/embed", dict[str, Any](model=name, input=[])
        await self.upstream.fetch_json(path, body=orjson.dumps(asked), seconds=LOAD_SECONDS)

    async def unload(self, model: str) -> bool:
        """Unload a model with all its variants; False if `/api/ps` does not list it.

        `POST /api/generate` with `keep_alive: 0` and no prompt is answered at once, also while the
        model serves a request, after which Ollama unloads it (`expireRunner` of its
        `server/sched.go`). So `/api/ps` decides.

        Raises:
            BackendUnavailable: it is still listed after `UNLOAD_SECONDS`.
            BackendError: Ollama cannot be reached, or refuses.
        """
        names = await self._held_as(model)
        for name in names:
            body = orjson.dumps({"model": name, "keep_alive": 0, "stream": False})
            await self.upstream.fetch_json("/api/generate", body=body, seconds=UNLOAD_SECONDS)

        async def gone() -> bool:
            return not await self._held_as(model)

        if names and not await becomes(gone, UNLOAD_SECONDS):
            raise BackendUnavailable(
                f"Ollama accepted to unload `{model}`, and still lists it after "
                f"{UNLOAD_SECONDS:g} s. It unloads a model when its requests have ended; see "
                "`ollama ps`"
            )
        return bool(names)

    async def _running(self) -> dict[str, dict[str, Any]]:
        """The entries of `/api/ps` by name. Raises `BackendError`."""
        answer = as_object(await self.upstream.fetch_json("/api/ps"))
        if not isinstance(answer.get("models"), list):
            reason = f"{self.upstream.base_url}/api/ps sent no list of models; check that it is "
            raise BackendProtocolError(f"{reason}Ollama's address")
        return names_of(answer)

    async def _held_as(self, model: str) -> list[str]:
        """The names in `/api/ps` that belong to a model."""
        owners = await self._owners(await self._running())
        wanted = key_of(model)
        return [name for name, own in owners.items() if wanted in (key_of(name), key_of(own))]

    async def _owners(self, names: Iterable[str]) -> dict[str, str]:
        """For each name that Ollama lists, that of the model in requests: variants are hidden."""
        names = list(names)
        varied = self._options.context_tokens and any(map(_VARIANT.search, names))
        entries = await self._entries() if varied else {}
        return {name: own_name(name, entries) for name in names}

    async def _entries(self) -> dict[str, dict[str, Any]]:
        """The pulled models. Raises `BackendError`."""
        return names_of(await self.upstream.fetch_json("/api/tags"))

    async def _show(self, name: str, digest: str) -> Mapping[str, Any]:
        """`/api/show`, cached until the model changes, because it reads the model's file."""
        if (name, digest) not in self._shown:
            try:
                asked = orjson.dumps({"model": name})
                shown = as_object(await self.upstream.fetch_json("/api/show", body=asked))
            except BackendError:
                return {}
            keep = ("parameters", "model_info", "capabilities")
            self._shown[name, digest] = {key: shown[key] for key in keep if key in shown}
        return self._shown[name, digest]
