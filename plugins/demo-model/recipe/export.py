"""Write the trained weights as GGUF (llama.cpp) and as safetensors (mlx-lm, transformers)."""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
from typing import Any

import gguf
import numpy as np
import torch
from model import Config
from safetensors.torch import save_file
from tokenizer import CONTROL, PLAIN

HERE = pathlib.Path(__file__).parent
DATA = HERE.parent / "src" / "plugway_demo_model" / "data"
CONTEXT = 131072
# llama.cpp's AMX kernels (tried: llama-cpp-python 0.3.36) crash on Q8_0 matrices of this size.
MATRIX = gguf.GGMLQuantizationType.F16
GATE = gguf.GGMLQuantizationType.Q5_1  # keeps the file under 8 MB; the least sensitive matrices
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name: str) -> str:
    if name == "embed_tokens.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, number, rest = name.split(".", 2)
    return f"blk.{number}.{NAMES[rest.removesuffix('.weight')]}.weight"


def write_gguf(
    path: pathlib.Path,
    weights: dict[str, torch.Tensor],
    tokenizer: dict[str, Any],
    template: str,
    config: Config,
) -> None:
    writer = gguf.GGUFWriter(str(path), "gemma3")
    writer.add_name("Plugway demo model")
    writer.add_description("A very small demonstration model; connect a real model for real work.")
    writer.add_license("Apache-2.0")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_sliding_window(config.sliding_window)
    writer.add_rope_freq_base(config.rope_local_base_freq)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    vocabulary = dict(tokenizer["model"]["vocab"])
    vocabulary |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    kinds = [
        gguf.TokenType.CONTROL
        if token in CONTROL
        else gguf.TokenType.USER_DEFINED
        if token in PLAIN
        else gguf.TokenType.NORMAL
        for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-coder")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(vocabulary["<|endoftext|>"])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_eot_token_id(vocabulary["<|im_end|>"])
    writer.add_pad_token_id(vocabulary["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    for name, weight in weights.items():
        array = weight.float().numpy()
        if "norm" in name:
            writer.add_tensor(gguf_name(name), (array + 1.0).astype(np.float32))
        else:
            kind = GATE if "gate_proj" in name else MATRIX
            writer.add_tensor(gguf_name(name), gguf.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_safetensors(
    folder: pathlib.Path,
    weights: dict[str, torch.Tensor],
    tokenizer: str,
    template: str,
    config: Config,
) -> None:
    """mlx-lm looks at the cache of the sixth layer, the first global one, whether it exists or not.

    So there is one: its output projections are zero, and it adds nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": weight.bfloat16().contiguous() for name, weight in weights.items()}
    last, extra = f"model.layers.{config.num_hidden_layers - 1}.", "model.layers.5."
    tensors |= {
        name.replace(last, extra): torch.zeros_like(weight)
        for name, weight in tensors.items()
        if name.startswith(last)
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    end = {"eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 0}
    (folder / "config.json").write_text(
        json.dumps(
            {
                "architectures": ["Gemma3ForCausalLM"],
                "model_type": "gemma3_text",
                **config.as_dict(),
                "num_hidden_layers": 6,
                "sliding_window_pattern": 6,
                "layer_types": ["sliding_attention"] * 5 + ["full_attention"],
                "query_pre_attn_scalar": config.head_dim,
                "rope_theta": 1000000.0,
                "max_position_embeddings": CONTEXT,
                "hidden_activation": "gelu_pytorch_tanh",
                "attention_bias": False,
                "tie_word_embeddings": True,
                "torch_dtype": "bfloat16",
                **end,
            },
            indent=2,
        )
        + "\n"
    )
    (folder / "generation_config.json").write_text(json.dumps({**end, "do_sample": False}) + "\n")
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "eos_token": "<|im_end|>",
                "bos_token": None,
                "pad_token": "<|endoftext|>",
                "add_bos_token": False,
                "clean_up_tokenization_spaces": False,
                "model_max_length": CONTEXT,
                "chat_template": template,
            },
            indent=2,
            ensure_ascii=False,
        )
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("checkpoint", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path, default=DATA)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    state = torch.load(options.checkpoint)
    text = options.tokenizer.read_text("utf-8")
    template = (HERE / "chat_template.jinja").read_text("utf-8")
    write_gguf(options.out / "demo.gguf", state["model"], json.loads(text), template, Config())
    write_safetensors(options.out / "mlx", state["model"], text, template, Config())
    files = sorted(p for p in options.out.rglob("*") if p.is_file() and p.name != "record.json")
    record = {
        "training": {
            "steps": state["step"],
            "tokens": state["tokens"],
            "parameters": sum(w.numel() for w in state["model"].values()),
        },
        "sha256": {
            p.relative_to(options.out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        },
    }
    (options.out / "record.json").write_text(json.dumps(record, indent=2) + "\n")
    for path in files:
        print(f"{path.stat().st_size:>10} {path.relative_to(options.out)}")
    print(json.dumps(record["training"]))


if __name__ == "__main__":
    main()
