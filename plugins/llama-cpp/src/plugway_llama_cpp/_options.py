"""Options of the plugin. See `_memory` for the sizes that they lead to on this machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from plugway import Options


class LlamaCppOptions(Options):
    """Options of `llama-cpp`."""

    model: str = "demo"
    """Path of a GGUF file, name of a model in the models folder (`plugway models list`), or `demo`
    for the small one that ships with Plugway."""
    mmproj: str | None = None
    """The model's image projector: path of a GGUF file (`mmproj-….gguf`), or its name in the models
    folder. Without one, images are replaced with a placeholder."""
    context: int | None = Field(default=None, ge=256, le=4_194_304)
    """Maximum tokens of one conversation. Default: the model's trained size, at most 65,536, if it
    fits into memory."""
    batch: int = Field(default=512, ge=32, le=512)
    """Tokens per micro-batch. Larger ones would delay a cancel."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Number of threads. Default: the physical cores."""
    gpu_layers: int = Field(default=-1, ge=-1)
    """Layers on the GPU if llama.cpp was built with GPU support; -1 for all."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """Whether attention is computed in one fused step."""
    kv_type: Literal["f16", "bf16", "f32", "q8_0", "q4_0"] = "f16"
    """Number format of the prefix cache. `q8_0` halves its memory and needs flash attention."""
    slots: int = Field(default=8, ge=1, le=64)
    """Conversations that can be computed at the same time and stay loaded."""
    guess_ahead: int = Field(default=0, ge=0, le=32)
    """Maximum tokens of a reply that are guessed from the conversation and computed with the next
    token. The reply does not change; replies that repeat files are faster."""
    seed: int | None = Field(default=None, ge=0, le=0xFFFF_FFFE)
    """Seed of the sampling. Default: a new one for each request."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature, used instead of the client's: Claude Code always requests 1, which is
    too high for small models."""
    top_k: int = Field(default=40, ge=0)
    """Top-k, used if the client sets none; 0 for all tokens."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Top-p, used if the client sets none."""
    min_p: float = Field(default=0.05, ge=0, le=1)
    """Min-p: tokens with less than this share of the likeliest token's probability are never
    chosen."""
    cache_mib: int = Field(default=512, ge=0)
    """Memory for the states of conversations that lost their slot."""
    disk_cache_mib: int = Field(default=2048, ge=0)
    """Disk space for prompts, so that a restarted gateway need not compute them again; 0 for none.
    The files contain conversations and are in the user's cache folder."""
    template: str | None = None
    """Path of a chat template that replaces the model's own."""
    preload: bool = True
    """Load the model when the gateway starts instead of with the first request."""
    idle_unload_seconds: float = Field(default=0.0, ge=0)
    """Unload a model that was unused for this time; 0 to keep it."""
