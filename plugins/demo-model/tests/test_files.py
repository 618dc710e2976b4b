from __future__ import annotations

import hashlib
import json
import struct

import plugway_demo_model as demo

LIMITS = {"demo.gguf": 8_100_000, "mlx/model.safetensors": 14_000_000}


def test_every_file_is_the_one_that_the_recipe_recorded():
    folder = demo.model_path().parent
    record = json.loads((folder / "record.json").read_text("utf-8"))["sha256"]
    found = {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "record.json"
    }
    assert found == record


def test_the_weights_stay_small():
    folder = demo.model_path().parent
    assert {
        name: (folder / name).stat().st_size < most for name, most in LIMITS.items()
    } == dict.fromkeys(LIMITS, True)


def test_the_gguf_file_says_what_an_engine_must_know():
    metadata = _gguf_metadata(demo.model_path().read_bytes())
    template = (demo.safetensors_path() / "tokenizer_config.json").read_text("utf-8")
    assert metadata["general.architecture"] == "gemma3"
    assert metadata["gemma3.attention.sliding_window"] == 512
    assert metadata["gemma3.block_count"] < 6, "the sixth layer would attend to everything"
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    tokens = metadata["tokenizer.ggml.tokens"]
    assert tokens[metadata["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    assert metadata["tokenizer.chat_template"] == json.loads(template)["chat_template"]


def test_the_template_in_the_files_is_the_one_in_the_recipe(template_text):
    metadata = _gguf_metadata(demo.model_path().read_bytes())
    assert metadata["tokenizer.chat_template"] == template_text


def test_the_safetensors_file_lists_whole_tensors():
    data = (demo.safetensors_path() / "model.safetensors").read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    tensors = json.loads(data[8 : 8 + size])
    tensors.pop("__metadata__", None)
    assert max(t["data_offsets"][1] for t in tensors.values()) == len(data) - 8 - size
    config = json.loads((demo.safetensors_path() / "config.json").read_text("utf-8"))
    shape = [config["vocab_size"], config["hidden_size"]]
    assert tensors["model.embed_tokens.weight"]["shape"] == shape


def _gguf_metadata(data: bytes) -> dict[str, object]:
    """A reader of its own, so that the test needs no GGUF library."""
    plain = {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }
    position = 8

    def number(kind: str) -> object:
        nonlocal position
        (value,) = struct.unpack_from("<" + kind, data, position)
        position += struct.calcsize("<" + kind)
        return value

    def value(kind: int) -> object:
        nonlocal position
        if kind in plain:
            return number(plain[kind])
        if kind == 8:
            size = number("Q")
            text = data[position : position + size].decode("utf-8")
            position += size
            return text
        inner, count = number("I"), number("Q")
        return [value(inner) for _ in range(count)]

    assert data[:4] == b"GGUF"
    number("Q")
    count = number("Q")
    found: dict[str, object] = {}
    for _ in range(count):
        key = value(8)
        found[key] = value(number("I"))
    return found
