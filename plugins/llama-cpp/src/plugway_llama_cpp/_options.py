"""Options of the plugin. What they come to on this machine is `_memory`'s business."""

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
    folder. Without one, images become a placeholder."""
    context: int | None = Field(default=None, ge=256, le=4_194_304)
    """Tokens that one conversation may have. Default: what the model was trained for, at most
    65,536, and what fits into memory."""
    batch: int = Field(default=512, ge=32, le=512)
    """Tokens per micro-batch. Larger ones would make a cancel wait."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads. Default: the physical cores."""
    gpu_layers: int = Field(default=-1, ge=-1)
    """Layers on the GPU where llama.cpp was built for one; -1 for all."""
    flash_attention: Literal["auto", "on", "off"] = "auto"
    """Whether attention is computed in one fused step."""
    kv_type: Literal["f16", "bf16", "f32", "q8_0", "q4_0"] = "f16"
    """Number format of the prefix cache. `q8_0` halves its memory and needs flash attention."""
    slots: int = Field(default=8, ge=1, le=64)
    """Conversations that can be computed at the same time and are kept ready."""
    guess_ahead: int = Field(default=0, ge=0, le=32)
    """Tokens of a reply that are guessed from what the conversation already says, and computed with
    the next one. The reply stays the same; where files are written back it comes faster."""
    seed: int | None = Field(default=None, ge=0, le=0xFFFF_FFFE)
    """Seed of the sampling. Default: a new one for each request."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Used in place of the client's. Claude Code always asks for 1, which small
    models stand badly."""
    top_k: int = Field(default=40, ge=0)
    """Used where the client does not say; 0 for all tokens."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Used where the client does not say."""
    min_p: float = Field(default=0.05, ge=0, le=1)
    """Tokens less likely than this part of the likeliest are never chosen."""
    cache_mib: int = Field(default=512, ge=0)
    """Memory for conversations that lost their slot."""
    disk_cache_mib: int = Field(default=2048, ge=0)
    """Disk for prompts that a restarted gateway need not compute again; 0 for none. The files hold
    conversations and lie in the user's cache folder."""
    template: str | None = None
    """Path of a chat template that replaces the model's own."""
    preload: bool = True
    """Load the model when the gateway starts, not with the first request."""
    idle_unload_seconds: float = Field(default=0.0, ge=0)
    """Unload a model that was not used for so long; 0 to keep it."""
