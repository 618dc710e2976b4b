"""Writes tiny models with random weights: enough for every path of an engine, none of the sense.

python plugins/llama-cpp/tests/tiny_gguf.py llama tiny.gguf
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
{{- '# Tools\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\nFor each call: <tool_call>{"name": <name>, "arguments": <object>}</tool_call>' }}
{{- '<|im_end|>\\n' }}
{%- elif messages[0].role == 'system' %}
{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'system' and loop.first %}
{%- elif message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

SPECIALS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
)
_MERGED = ("he", "ll", "lo", "in", "er", "th", "an", "on", "re", "at", "or", "en", "es", "it")


def byte_symbols() -> list[str]:
    """How a byte-level BPE vocabulary of the GPT-2 kind writes each byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols, extra = {}, 0
    for byte in range(256):
        symbols[byte] = chr(byte) if byte in printable else chr(256 + extra)
        extra += byte not in printable
    return [symbols[byte] for byte in range(256)]


def write(
    path: Path,
    architecture: str = "llama",
    *,
    layers: int = 2,
    width: int = 64,
    context: int = 8192,
    window: int = 64,
    seed: int = 1,
    template: str | None = CHAT_TEMPLATE,
    vocabulary: int = 0,
) -> Path:
    """A model of a few hundred kilobytes. `gemma3` slides over `window` tokens in every layer."""
    writer = gguf.GGUFWriter(str(path), architecture)
    heads, head = 4, width // 4
    writer.add_name(f"tiny {architecture}")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(width * 2)
    writer.add_head_count(heads)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(head)
    if architecture == "qwen2vl":
        writer.add_rope_dimension_sections([head // 8, head // 8, head // 4, 0])
    if architecture == "gemma3":
        writer.add_key_length(head)
        writer.add_value_length(head)
        writer.add_sliding_window(window)
    tokens = _add_vocabulary(writer, template, vocabulary)
    _add_tensors(writer, architecture, layers, width, head, tokens, seed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_vocabulary(writer: gguf.GGUFWriter, template: str | None, least: int) -> int:
    """Filled up to `least` tokens with words that no text is split into."""
    tokens = [*byte_symbols(), *_MERGED]
    tokens += [f"word{n}" for n in range(least - len(tokens) - len(SPECIALS))] + [*SPECIALS]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(SPECIALS))
    kinds += [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.USER_DEFINED] * (len(SPECIALS) - 3)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in _MERGED])
    writer.add_bos_token_id(tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    if template is not None:
        writer.add_chat_template(template)
    return len(tokens)


def _add_tensors(
    writer: gguf.GGUFWriter,
    architecture: str,
    layers: int,
    width: int,
    head: int,
    vocabulary: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)

    def matrix(name: str, *shape: int, scale: float = 1.0) -> None:
        data = random.standard_normal(shape) * scale / np.sqrt(shape[-1])
        writer.add_tensor(name, data.astype(np.float32))

    def ones(name: str, size: int = width) -> None:
        writer.add_tensor(name, np.ones(size, np.float32))

    gemma = architecture == "gemma3"
    matrix("token_embd.weight", vocabulary, width, scale=4.0)
    ones("output_norm.weight")
    # The end token's logit is always 0: replies end where a test wants them to end.
    output = random.standard_normal((vocabulary, width)) * 3.0 / np.sqrt(width)
    output[[-len(SPECIALS), -len(SPECIALS) + 2]] = 0
    writer.add_tensor("output.weight", output.astype(np.float32))
    for layer in range(layers):
        block = f"blk.{layer}."
        ones(block + "attn_norm.weight")
        matrix(block + "attn_q.weight", 4 * head, width)
        matrix(block + "attn_k.weight", 2 * head, width)
        matrix(block + "attn_v.weight", 2 * head, width)
        matrix(block + "attn_output.weight", width, 4 * head)
        ones(block + "ffn_norm.weight")
        matrix(block + "ffn_gate.weight", width * 2, width)
        matrix(block + "ffn_up.weight", width * 2, width)
        matrix(block + "ffn_down.weight", width, width * 2)
        if gemma:
            ones(block + "attn_q_norm.weight", head)
            ones(block + "attn_k_norm.weight", head)
            ones(block + "post_attention_norm.weight")
            ones(block + "post_ffw_norm.weight")


if __name__ == "__main__":
    write(Path(sys.argv[2]), sys.argv[1])
