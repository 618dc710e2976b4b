"""The files of the demo model: GGUF for llama.cpp, safetensors for MLX.

Data only: how the model was made is in `recipe/` of the repository.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["model_path", "safetensors_path"]

_DATA = Path(__file__).parent / "data"


def model_path() -> Path:
    """The GGUF file, with tokenizer and chat template inside."""
    return _DATA / "demo.gguf"


def safetensors_path() -> Path:
    """The folder that mlx-lm loads: weights, configuration, tokenizer, chat template."""
    return _DATA / "mlx"
