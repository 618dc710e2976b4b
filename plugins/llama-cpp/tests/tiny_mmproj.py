"""Writes tiny image projectors with random weights, of two kinds that differ in what matters.

`gemma3` makes a fixed number of tokens that are attended to in both directions; `qwen2vl_merger`
makes as many as the image is large, and several of them share a position (M-RoPE).

python plugins/llama-cpp/tests/tiny_mmproj.py gemma3 mmproj.gguf
"""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, INNER, LAYERS, PATCH, SIZE = 32, 4, 64, 1, 8, 64


def write(path: Path, kind: str = "gemma3", *, text_width: int = 64, seed: int = 1) -> Path:
    """A projector into a text model of width `text_width`; some ten kilobytes."""
    writer = gguf.GGUFWriter(str(path), "clip")
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_string("clip.projector_type", kind)
    writer.add_bool("clip.use_gelu", True)
    sizes = {
        "embedding_length": WIDTH,
        "feed_forward_length": INNER,
        "block_count": LAYERS,
        "projection_dim": text_width,
        "attention.head_count": HEADS,
        "image_size": SIZE,
        "patch_size": PATCH,
    }
    for name, value in sizes.items():
        writer.add_uint32(f"clip.vision.{name}", value)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    writer.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    writer.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    _add_tensors(writer, kind, text_width, seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tensors(writer: gguf.GGUFWriter, kind: str, text_width: int, seed: int) -> None:
    random = np.random.default_rng(seed)

    def matrix(name: str, *shape: int) -> None:
        scale = 1 / np.sqrt(shape[-1])
        writer.add_tensor(name, (random.standard_normal(shape) * scale).astype(np.float32))

    def constant(name: str, value: float, size: int) -> None:
        writer.add_tensor(name, np.full(size, value, np.float32))

    matrix("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    for layer in range(LAYERS):
        block = f"v.blk.{layer}."
        for part, rows, columns in (
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_out", WIDTH, WIDTH),
            ("ffn_up", INNER, WIDTH),
            ("ffn_down", WIDTH, INNER),
        ):
            matrix(f"{block}{part}.weight", rows, columns)
            constant(f"{block}{part}.bias", 0.0, rows)
        for norm in ("ln1", "ln2"):
            constant(f"{block}{norm}.weight", 1.0, WIDTH)
            constant(f"{block}{norm}.bias", 0.0, WIDTH)
    constant("v.post_ln.weight", 1.0, WIDTH)
    constant("v.post_ln.bias", 0.0, WIDTH)
    if kind == "gemma3":
        matrix("v.position_embd.weight", (SIZE // PATCH) ** 2, WIDTH)
        matrix("mm.input_projection.weight", WIDTH, text_width)
        constant("mm.soft_emb_norm.weight", 1.0, WIDTH)
        writer.add_uint32("clip.vision.projector.scale_factor", 2)
    else:
        matrix("v.patch_embd.weight.1", WIDTH, 3, PATCH, PATCH)
        matrix("mm.0.weight", 4 * WIDTH, 4 * WIDTH)
        constant("mm.0.bias", 0.0, 4 * WIDTH)
        matrix("mm.2.weight", text_width, 4 * WIDTH)
        constant("mm.2.bias", 0.0, text_width)


def png(width: int, height: int, seed: int = 0) -> bytes:
    """A picture of noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


if __name__ == "__main__":
    write(Path(sys.argv[2]), sys.argv[1])
