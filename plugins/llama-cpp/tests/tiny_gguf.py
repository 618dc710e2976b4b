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
CONVOLUTION, STATE, STEP_RANK = 4, 8, 4
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
    """A model of a few hundred kilobytes.

    `gemma3` slides over `window` tokens in every layer, every second layer of `lfm2` is recurrent,
    all of `mamba` are.
    """
    writer = gguf.GGUFWriter(str(path), architecture)
    heads, head = 4, width // 4
    writer.add_name(f"tiny {architecture}")
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(width * 2)
    writer.add_head_count(heads)
    writer.add_head_count_kv([2 * (n % 2) for n in range(layers)] if architecture == "lfm2" else 2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(head)
    if architecture == "qwen2vl":
        writer.add_rope_dimension_sections([head // 8, head // 8, head // 4, 0])
    if architecture == "lfm2":
        writer.add_shortconv_l_cache(CONVOLUTION)
    if architecture == "mamba":
        writer.add_ssm_conv_kernel(CONVOLUTION)
        writer.add_ssm_inner_size(2 * width)
        writer.add_ssm_state_size(STATE)
        writer.add_ssm_time_step_rank(STEP_RANK)
    if architecture == "gemma3":
        writer.add_key_length(head)
        writer.add_value_length(head)
        writer.add_sliding_window(window)
    tokens = _add_vocabulary(writer, template, vocabulary)
    _add_tensors(_Tensors(writer, width, head, seed), architecture, layers, width, tokens)
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


class _Tensors:
    """Writes the tensors of one layout with random numbers."""

    def __init__(self, writer: gguf.GGUFWriter, width: int, head: int, seed: int) -> None:
        self._writer = writer
        self._width = width
        self._head = head
        self._random = np.random.default_rng(seed)

    def matrix(self, name: str, *shape: int, scale: float = 1.0) -> None:
        data = self._random.standard_normal(shape) * scale / np.sqrt(shape[-1])
        self._writer.add_tensor(name, data.astype(np.float32))

    def constant(self, name: str, *shape: int, value: float = 1.0) -> None:
        self._writer.add_tensor(name, np.full(shape, value, np.float32))

    def ends(self, vocabulary: int, norm: str) -> None:
        width = self._width
        self.matrix("token_embd.weight", vocabulary, width, scale=4.0)
        self.constant(norm, width)
        # The end token's logit is always 0: replies end where a test wants them to end.
        output = self._random.standard_normal((vocabulary, width)) * 3.0 / np.sqrt(width)
        output[[-len(SPECIALS), -len(SPECIALS) + 2]] = 0
        self._writer.add_tensor("output.weight", output.astype(np.float32))

    def attention(self, block: str, *, normed: bool) -> None:
        width, head = self._width, self._head
        self.matrix(block + "attn_q.weight", 4 * head, width)
        self.matrix(block + "attn_k.weight", 2 * head, width)
        self.matrix(block + "attn_v.weight", 2 * head, width)
        self.matrix(block + "attn_output.weight", width, 4 * head)
        if normed:
            self.constant(block + "attn_q_norm.weight", head)
            self.constant(block + "attn_k_norm.weight", head)

    def feed_forward(self, block: str) -> None:
        width = self._width
        self.constant(block + "ffn_norm.weight", width)
        self.matrix(block + "ffn_gate.weight", width * 2, width)
        self.matrix(block + "ffn_up.weight", width * 2, width)
        self.matrix(block + "ffn_down.weight", width, width * 2)

    def convolution(self, block: str) -> None:
        """LFM2's recurrent layer."""
        width = self._width
        self.matrix(block + "shortconv.conv.weight", width, CONVOLUTION)
        self.matrix(block + "shortconv.in_proj.weight", 3 * width, width)
        self.matrix(block + "shortconv.out_proj.weight", width, width)

    def state_space(self, block: str) -> None:
        """Mamba's recurrent layer."""
        width, inner = self._width, 2 * self._width
        self.matrix(block + "ssm_in.weight", 2 * inner, width)
        self.matrix(block + "ssm_conv1d.weight", inner, CONVOLUTION)
        self.constant(block + "ssm_conv1d.bias", inner, value=0.0)
        self.matrix(block + "ssm_x.weight", STEP_RANK + 2 * STATE, inner)
        self.matrix(block + "ssm_dt.weight", inner, STEP_RANK)
        self.constant(block + "ssm_dt.bias", inner, value=-2.0)
        self.constant(block + "ssm_a", inner, STATE, value=-1.0)
        self.constant(block + "ssm_d", inner)
        self.matrix(block + "ssm_out.weight", width, inner)


def _add_tensors(tensors: _Tensors, kind: str, layers: int, width: int, vocabulary: int) -> None:
    norm = "token_embd_norm.weight" if kind == "lfm2" else "output_norm.weight"
    tensors.ends(vocabulary, norm)
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors.constant(block + "attn_norm.weight", width)
        if kind == "mamba":
            tensors.state_space(block)
            continue
        if kind == "lfm2" and layer % 2 == 0:
            tensors.convolution(block)
        else:
            tensors.attention(block, normed=kind in ("gemma3", "lfm2"))
        tensors.feed_forward(block)
        if kind == "gemma3":
            tensors.constant(block + "post_attention_norm.weight", width)
            tensors.constant(block + "post_ffw_norm.weight", width)


if __name__ == "__main__":
    write(Path(sys.argv[2]), sys.argv[1])
