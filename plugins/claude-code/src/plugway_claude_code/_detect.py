"""Finds what could serve models: local servers, model files, keys, memory. Loopback only.

Keys are detected by the names of their variables; the values are not read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import anyio
import httpx2
import platformdirs
import psutil

from plugway import as_list, as_object

_SECONDS = 1.5
_MOST_SHOWN = 50
"""Limit of models per server whose features are queried one by one."""
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Model:
    """A model of a server or a file. 0 and False mean unknown."""

    name: str
    bytes: int = 0
    window: int = 0
    loaded: bool = False
    toolless: bool = False
    """Its server reports that it cannot call tools, which agents need."""


@dataclass(frozen=True, slots=True)
class Source:
    """A possible source of models."""

    plugin: str
    """The plugin for it."""
    title: str
    address: str
    """A URL, a folder, or the name of a variable."""
    models: tuple[Model, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    """Non-default options of the plugin."""
    instance: str = ""
    """Name of the plugin instance; by default the plugin's name."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory in bytes."""

    ram: int
    ram_free: int
    vram: int
    gpu: str = ""

    @property
    def for_models(self) -> int:
        """Memory for a model: the graphics card's, or four fifths of the machine's."""
        return self.vram or int(self.ram * 0.8)


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was found."""

    servers: tuple[Source, ...]
    files: Source | None
    keys: tuple[Source, ...]
    machine: Machine


KEYS: Mapping[str, Source] = {
    "ANTHROPIC_API_KEY": Source("anthropic", "Anthropic", "", (Model("claude-sonnet-4-5"),)),
    "OPENAI_API_KEY": Source("openai", "OpenAI", "", (Model("gpt-5"),)),
    "GEMINI_API_KEY": Source("gemini", "Google", "", (Model("gemini-2.5-flash"),)),
    "OPENROUTER_API_KEY": Source(
        "openai-compatible",
        "OpenRouter",
        "",
        (Model("qwen/qwen3-coder"),),
        {"preset": "openrouter"},
        "openrouter",
    ),
}
"""Sources by variable name, each with the model that is tested first."""


def detect(
    environ: Mapping[str, str] | None = None, ports: Mapping[str, int] | None = None
) -> Findings:
    """Look for everything concurrently; takes about a second at most.

    `ports` replaces the default port of a server, by plugin.
    """
    environ = os.environ if environ is None else environ
    plugins = installed_plugins()
    servers = anyio.run(_servers, dict(ports or {}))
    keys = [
        replace(source, address=name, options={**source.options, "api_key": {"$env": name}})
        for name, source in KEYS.items()
        if environ.get(name) and source.plugin in plugins
    ]
    files = _files() if "llama-cpp" in plugins else None
    return Findings(tuple(servers), files, tuple(keys), machine())


def installed_plugins() -> frozenset[str]:
    """Names of the plugins that a configuration can use."""
    return frozenset(point.name for point in entry_points(group="plugway"))


def machine() -> Machine:
    """Memory of this machine and of its NVIDIA cards."""
    memory = psutil.virtual_memory()
    vram, gpu = _nvidia()
    return Machine(memory.total, memory.available, vram, gpu)


def _nvidia() -> tuple[int, str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0, ""
    words = [tool, "--query-gpu=memory.total,name", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0, ""
    rows = [line.partition(",") for line in done.stdout.splitlines()]
    sizes = [int(size) for size, _, _ in rows if size.strip().isdigit()]
    return sum(sizes) << 20, rows[0][2].strip() if sizes else ""


def _files() -> Source | None:
    folder = platformdirs.user_data_path("plugway") / "models"
    found = sorted(folder.rglob("*.gguf")) if folder.is_dir() else []
    parts = [path for path in found if "-of-" not in path.stem or "-00001-of-" in path.stem]
    models = tuple(Model(_file_name(path, folder), path.stat().st_size) for path in parts)
    return Source("llama-cpp", "model files", str(folder), models) if models else None


def _file_name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder))


# ── servers ────────────────────────────────────────────────────────────────────────────────────


async def _servers(ports: dict[str, int]) -> list[Source]:
    found: dict[int, Source | None] = {}

    async def ask(index: int, kind: _Kind) -> None:
        url = f"http://127.0.0.1:{ports.get(kind.plugin, kind.port)}"
        # plain HTTP: loading certificates would take 40 ms and verify nothing
        async with httpx2.AsyncClient(
            base_url=url, timeout=_SECONDS, trust_env=False, verify=False
        ) as client:
            try:
                models = await kind.read(client)
            except (httpx2.HTTPError, ValueError):
                models = None
        if models is not None:
            options: dict[str, object] = {}
            if kind.preset:
                options = {"preset": kind.preset, "base_url": f"{url}/v1"}
            elif not url.endswith(f":{kind.port}"):
                options = {"base_url": url}
            instance = kind.preset.partition("-")[0]
            found[index] = Source(kind.plugin, kind.title, url, tuple(models), options, instance)

    async with anyio.create_task_group() as group:
        for index, kind in enumerate(_KINDS):
            group.start_soon(ask, index, kind)
    sources = [found[index] for index in sorted(found)]
    return [source for source in sources if source is not None]


async def _json(client: httpx2.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    if answer.status_code != 200:
        raise ValueError(path)
    return as_object(answer.json())


async def _ollama(client: httpx2.AsyncClient) -> list[Model] | None:
    tags = as_list((await _json(client, "/api/tags")).get("models"))
    running = as_list((await _json(client, "/api/ps")).get("models"))
    loaded = {str(as_object(item).get("name")): as_object(item) for item in running}
    models: list[Model] = []
    for item in map(as_object, tags):
        name = str(item.get("name", ""))
        if not name.endswith(("cloud", "-embed")) and "embed" not in name:
            window = loaded.get(name, {}).get("context_length", 0)
            models.append(Model(name, int(item.get("size", 0)), int(window or 0), name in loaded))
    toolless: set[str] = set()

    async def show(name: str) -> None:
        """`/api/show` lists a model's capabilities (Ollama's API reference) on newer servers."""
        try:
            shown = await client.post("/api/show", json={"model": name})
            able = as_list(as_object(shown.json()).get("capabilities"))
        except (httpx2.HTTPError, ValueError):
            return
        if able and "tools" not in able:
            toolless.add(name)

    async with anyio.create_task_group() as group:
        for model in models[:_MOST_SHOWN]:
            group.start_soon(show, model.name)
    return [replace(model, toolless=model.name in toolless) for model in models]


async def _lmstudio(client: httpx2.AsyncClient) -> list[Model] | None:
    items = map(as_object, as_list((await _json(client, "/api/v0/models")).get("data")))
    return [
        Model(
            str(item.get("id", "")),
            window=int(item.get("loaded_context_length") or item.get("max_context_length") or 0),
            loaded=item.get("state") == "loaded",
        )
        for item in items
        if item.get("type") != "embeddings"
    ]


async def _llama_server(client: httpx2.AsyncClient) -> list[Model] | None:
    props = await _json(client, "/props")
    settings = as_object(props.get("default_generation_settings"))
    if not settings:
        return None
    window = int(settings.get("n_ctx") or 0)
    return [Model(name, window=window, loaded=True) for name in await _openai_names(client)]


async def _vllm(client: httpx2.AsyncClient) -> list[Model] | None:
    items = list(map(as_object, as_list((await _json(client, "/v1/models")).get("data"))))
    if not any(item.get("owned_by") == "vllm" for item in items):
        return None
    return [
        Model(str(item.get("id", "")), window=int(item.get("max_model_len") or 0), loaded=True)
        for item in items
    ]


async def _mlx(client: httpx2.AsyncClient) -> list[Model] | None:
    """`default_model` is the model that `mlx_lm.server` was started with (its `server.py`, 0.32.2).
    Other names in its list, which is the whole cache of Hugging Face, make it load that model."""
    server = (await client.get("/health")).headers.get("server", "")
    return [Model("default_model", loaded=True)] if server.startswith("BaseHTTP") else None


async def _openai_names(client: httpx2.AsyncClient) -> list[str]:
    items = map(as_object, as_list((await _json(client, "/v1/models")).get("data")))
    return [str(item["id"]) for item in items if item.get("id")]


@dataclass(frozen=True, slots=True)
class _Kind:
    plugin: str
    title: str
    port: int
    read: Callable[[httpx2.AsyncClient], Any]
    preset: str = ""
    """Preset of `openai-compatible`, whose URL ends in `/v1`."""


_KINDS: Sequence[_Kind] = (
    _Kind("ollama", "Ollama", 11434, _ollama),
    _Kind("lmstudio", "LM Studio", 1234, _lmstudio),
    _Kind("llama-server", "llama-server", 8080, _llama_server),
    _Kind("vllm", "vLLM", 8000, _vllm),
    _Kind("openai-compatible", "MLX server", 8080, _mlx, "mlx-lm"),
)


def usable(sources: Iterable[Source]) -> list[Source]:
    """The sources whose plugin is installed."""
    plugins = installed_plugins()
    return [source for source in sources if source.plugin in plugins]
