"""Options of the plugin. See `_plan` for the sizes that they lead to on this machine."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class MlxOptions(Options):
    """Options of `mlx`."""

    model: str = "demo"
    """Path of a folder with an MLX model (`config.json`, `model*.safetensors`), name of one in the
    models folder (`plugway models list`), or `demo` for the small one that ships with Plugway."""
    context: int | None = Field(default=None, ge=256, le=4_194_304)
    """Maximum tokens of one conversation. Default: the model's trained size, at most 65,536, if it
    fits into memory."""
    batch: int = Field(default=512, ge=32, le=512)
    """Maximum tokens of a prompt that are computed at once. Larger ones would delay a cancel."""
    slots: int = Field(default=8, ge=1, le=64)
    """Conversations that can be computed at the same time and stay loaded."""
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
    memory_share: float = Field(default=0.9, gt=0, le=1)
    """Share of the memory that Metal recommends for a process which the model may use. Without
    Metal it has no effect."""
    template: str | None = None
    """Path of a chat template that replaces the model's own."""
    preload: bool = True
    """Load the model when the gateway starts instead of with the first request."""
    idle_unload_seconds: float = Field(default=0.0, ge=0)
    """Unload a model that was unused for this time; 0 to keep it."""
