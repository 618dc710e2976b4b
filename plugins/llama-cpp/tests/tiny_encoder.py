"""Writes a tiny embedding model (BERT) with random weights."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write(path: Path, *, width: int = 32, context: int = 128, pooling: int | None = 1) -> Path:
    """A model of a few kilobytes that knows letters and digits; `pooling` as in `llama.h`."""
    writer = gguf.GGUFWriter(str(path), "bert")
    writer.add_name("tiny bert")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width * 2)
    writer.add_head_count(4)
    writer.add_layer_norm_eps(1e-6)
    writer.add_causal_attention(False)
    if pooling is not None:
        writer.add_uint32("bert.pooling_type", pooling)
    signs = "abcdefghijklmnopqrstuvwxyz0123456789.,!?"
    tokens = [*SPECIALS, *("\u2581" + sign for sign in signs), *signs]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIALS)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIALS))
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_type_count(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_sep_token_id(3)
    writer.add_eos_token_id(3)
    writer.add_mask_token_id(4)
    _add_tensors(writer, width, context, len(tokens))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_tensors(writer: gguf.GGUFWriter, width: int, context: int, vocabulary: int) -> None:
    random = np.random.default_rng(1)

    def matrix(name: str, rows: int, columns: int) -> None:
        data = random.standard_normal((rows, columns)) / np.sqrt(columns)
        writer.add_tensor(name, data.astype(np.float32))

    def linear(name: str, rows: int, columns: int) -> None:
        matrix(name + ".weight", rows, columns)
        writer.add_tensor(name + ".bias", np.zeros(rows, np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(name + ".weight", np.ones(width, np.float32))
        writer.add_tensor(name + ".bias", np.zeros(width, np.float32))

    matrix("token_embd.weight", vocabulary, width)
    matrix("token_types.weight", 2, width)
    matrix("position_embd.weight", context, width)
    norm("token_embd_norm")
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        linear(f"blk.0.{name}", width, width)
    norm("blk.0.attn_output_norm")
    linear("blk.0.ffn_up", 2 * width, width)
    linear("blk.0.ffn_down", width, 2 * width)
    norm("blk.0.layer_output_norm")
