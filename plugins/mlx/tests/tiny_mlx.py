"""Folders with tiny models and random weights in several layouts, with the demo model's tokenizer.

Needs the engine: mlx-lm's own classes make the weights.
"""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path

VOCABULARY = 4096
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "eos_token_id": 2,
}
LAYOUTS = {
    "full": {**_COMMON, "model_type": "llama", "num_hidden_layers": 2, "head_dim": 16},
    "sliding": {
        **_COMMON,
        "model_type": "gemma3_text",
        "num_hidden_layers": 3,
        "sliding_window": 64,
        "sliding_window_pattern": 3,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
    },
    "bench": {
        **_COMMON,
        "model_type": "gemma3_text",
        "num_hidden_layers": 6,
        "hidden_size": 256,
        "intermediate_size": 512,
        "sliding_window": 512,
        "sliding_window_pattern": 6,
        "head_dim": 64,
        "query_pre_attn_scalar": 64,
        "rope_theta": 1_000_000.0,
        "rope_local_base_freq": 10_000.0,
    },
    "recurrent": {
        "model_type": "mamba",
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "state_size": 8,
        "num_hidden_layers": 2,
        "conv_kernel": 4,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_rank": 4,
        "eos_token_id": 2,
    },
}
"""All layers see all tokens; two of three see 64; one for
`bench.mlx`; all keep a summary of the tokens."""


def write(folder: Path, layout: str) -> Path:
    """A complete model in `folder`."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    import plugway_demo_model

    config = LAYOUTS[layout]
    module = importlib.import_module(f"mlx_lm.models.{config['model_type']}")
    mx.random.seed(7)
    model = module.Model(module.ModelArgs.from_dict(config))
    folder.mkdir(parents=True)
    weights = {name: value.astype(mx.float32) for name, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(config))
    source = Path(plugway_demo_model.safetensors_path())
    shutil.copy(source / "tokenizer.json", folder)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["chat_template"] = TEMPLATE
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


TEMPLATE = """\
{%- if tools -%}
{{ '<|im_start|>system\\n# Tools\\n<tools>\\n' }}
{%- for tool in tools -%}{{ tool | tojson }}{{ '\\n' }}{%- endfor -%}
{{ '</tools>\\n<tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call><|im_end|>\\n' }}
{%- endif -%}
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] -%}
{{ '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{- call.function.arguments | tojson }}{{ '}\\n</tool_call>' }}
{%- endfor -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
