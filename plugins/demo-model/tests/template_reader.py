"""What the shipped template makes of the last words of a request, as the engine converts it."""

from __future__ import annotations

import json
from typing import Any

import pytest

import plugway_demo_model as demo

toolcalls = pytest.importorskip("plugway_toolcalls", reason="plugway-llama-cpp is not installed")
engine = pytest.importorskip("plugway_local_engine", reason="plugway-llama-cpp is not installed")


class Reader:
    """`read(body)`: one of the model's orders or sentences, or `unknown`."""

    def __init__(self) -> None:
        config = (demo.safetensors_path() / "tokenizer_config.json").read_text("utf-8")
        self.template = engine.ChatTemplate(json.loads(config)["chat_template"])
        self.family = toolcalls.detect_family(self.template.source)

    def __call__(self, body: dict[str, Any]) -> str:
        made = engine.build_conversation(body, family=self.family, traits=self.template.traits)
        text = self.template.render(made.messages, made.tools)
        return text.rpartition("<|user|>")[2].partition("<|im_end|>")[0]
