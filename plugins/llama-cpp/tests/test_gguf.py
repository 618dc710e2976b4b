"""Hostile model files: refused by the header check, before llama.cpp sees them."""

import pickle
import struct

import pytest
import tiny_gguf
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_llama_cpp._gguf import HostileFile, read_header


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    return string(key) + struct.pack("<I", kind) + value


def gguf(*, magic=b"GGUF", version=3, tensors=0, pairs=None, body=None):
    entries = [pair("general.architecture", 8, string("llama"))] if pairs is None else pairs
    count = len(entries) if isinstance(entries, list) else entries
    head = magic + struct.pack("<IQQ", version, tensors, count)
    return head + (b"".join(entries) if isinstance(entries, list) else b"") + (body or b"")


def tensor(name="t", shape=(32,), kind=0, offset=0):
    dims = b"".join(struct.pack("<Q", n) for n in shape)
    return string(name) + struct.pack("<I", len(shape)) + dims + struct.pack("<IQ", kind, offset)


HOSTILE = {
    "empty": (b"", "empty"),
    "wrong magic": (gguf(magic=b"GGML"), "does not start with"),
    "big endian": (gguf(magic=b"FUGG"), "big-endian"),
    "future version": (gguf(version=99), "version 99"),
    "2^63 tensors": (gguf(tensors=1 << 63), "declares 9,223,372,036,854,775,808 tensors"),
    "2^64-1 pairs": (gguf(pairs=(1 << 64) - 1), "metadata entries"),
    "string of 2^64-1": (
        gguf(pairs=[struct.pack("<Q", (1 << 64) - 1)]),
        "a string declares",
    ),
    "array of 2^62": (
        gguf(pairs=[pair("a", 9, struct.pack("<IQ", 4, 1 << 62))]),
        "declares 4,611,686,018,427,387,904 items",
    ),
    "arrays in arrays": (
        gguf(pairs=[pair("a", 9, struct.pack("<IQ", 9, 1) * 200)]),
        "nested too deeply",
    ),
    "unknown type": (gguf(pairs=[pair("a", 77, b"")]), "unknown type 77"),
    "key twice": (gguf(pairs=[pair("a", 0, b"x"), pair("a", 0, b"x")]), "twice"),
    "ends in the header": (gguf(pairs=3), "ends within its header"),
    "no architecture": (gguf(pairs=[]), "no `general.architecture`"),
    "five dimensions": (gguf(tensors=1, body=tensor(shape=(1,) * 5)), "5 dimensions"),
    "shape overflows": (gguf(tensors=1, body=tensor(shape=(1 << 40, 1 << 40))), "shape"),
    "offset past the end": (gguf(tensors=1, body=tensor(offset=1 << 40)), "cut off"),
    "offset unaligned": (gguf(tensors=1, body=tensor(offset=7)), "not aligned"),
    "alignment 0": (gguf(pairs=[pair("general.alignment", 4, bytes(4))]), "alignment"),
    "pickle": (pickle.dumps({"a": 1}, 4), "pickle"),
    "zip of pickles": (b"PK\x03\x04" + bytes(60), "pickle"),
    "safetensors": (struct.pack("<Q", 50) + b'{"a":1}', "safetensors"),
    "web page": (b"<!doctype html><html>", "web page"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "LFS pointer"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_the_reason(tmp_path, name):
    data, reason = HOSTILE[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(HostileFile, match=r"model\.gguf") as caught:
        read_header(path)
    assert reason in str(caught.value)


def test_a_truncated_model_is_refused_wherever_it_ends(tmp_path, models):
    data = models["full"].read_bytes()
    path = tmp_path / "cut.gguf"
    for size in range(0, len(data), 4096):
        path.write_bytes(data[:size])
        with pytest.raises(HostileFile):
            read_header(path)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damage_is_refused_or_harmless_and_never_another_error(tmp_path_factory, models, data):
    raw = bytearray(models["full"].read_bytes()[:6000])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(raw)
    with pytest.raises(HostileFile):
        read_header(path)


def test_a_good_file_says_what_it_is(tmp_path):
    header = read_header(tiny_gguf.write(tmp_path / "m.gguf", "gemma3", layers=3))
    assert header.architecture == "gemma3"
    assert header.number("block_count") == 3
    assert header.number("attention.sliding_window") == 64
    assert header.parameters > 100_000
    assert header.values["array:tokenizer.ggml.tokens"] == 277
