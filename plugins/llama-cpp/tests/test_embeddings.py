"""Embedding models: real llama.cpp on a tiny BERT with random weights."""

import math
from array import array
from contextlib import suppress

import httpx2
import numpy as np
import odd_gguf
import pytest
import tiny_encoder
import tiny_gguf

from plugway import BackendUnavailable, InvalidRequest, RequestRejected
from plugway.testing import build_plugin, gateway
from plugway_embeddings import Embeds, Wanted
from plugway_llama_cpp import LlamaCpp
from plugway_llama_cpp._embedding import vectors_of
from plugway_local_engine import Frame
from plugway_openai_api import OpenAIApi
from tests.slow import quick_first

pytestmark = pytest.mark.anyio


@pytest.fixture
def encoder(tmp_path):
    return tiny_encoder.write(tmp_path / "tiny-bert.gguf")


async def embedded(engine, *inputs, **fields):
    wanted = Wanted("default", inputs, **fields)
    request = engine.request("embeddings")
    return await engine.backend.embed(wanted, engine.attempt(request))


def cosine(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_each_text_gets_its_vector_of_length_1(engine, encoder):
    async with engine(encoder) as e:
        assert isinstance(e.backend, Embeds)
        found = await embedded(e, "hello world", "a", "hello world")
        assert [len(vector) for vector in found.vectors] == [32, 32, 32]
        assert all(math.isclose(cosine(v, v), 1, abs_tol=1e-4) for v in found.vectors)
        one, other, again = found.vectors
        assert cosine(one, again) > 0.9999 > cosine(one, other)
        assert found.tokens == 2 * (10 + 2) + 1 + 2  # each between [CLS] and [SEP]


async def test_many_texts_come_back_in_their_order(engine, encoder):
    async with engine(encoder) as e:
        texts = [str(number) * (1 + number % 30) for number in range(70)]
        found = await embedded(e, *texts)
        for number in (0, 31, 32, 69):
            (alone,) = (await embedded(e, texts[number])).vectors
            assert cosine(alone, found.vectors[number]) > 0.999


async def test_a_text_that_is_too_long_is_refused_by_its_number(engine, encoder):
    async with engine(encoder) as e:
        with pytest.raises(RequestRejected, match=r"input\[40\] has 131 tokens; .* accepts 128"):
            await embedded(e, *["a"] * 40, "b" * 129)
        assert (await embedded(e, "b" * 126)).tokens == 128


async def test_a_word_of_tens_of_thousands_of_letters_is_embedded_or_refused(engine, tmp_path):
    """A vocabulary of pairs of bytes, whose texts llama.cpp splits by `std::regex`."""
    small = tiny_gguf.write(tmp_path / "decoder.gguf", "llama")
    path = odd_gguf.rewrite(small, tmp_path / "pairs.gguf", llama__pooling_type=1)
    async with engine(path, context=3000) as e:  # not a size that llama.cpp's contexts have
        with pytest.raises(RequestRejected, match=r"input\[0\] has \d+ tokens; .* accepts 3000"):
            await embedded(e, "hello" * 12_000)
        for long in ("h" * 600_000, " " * 600_000):  # more than the worker's stack is sure to hold
            with pytest.raises(RequestRejected, match=r"input\[1\] has a word or space of more"):
                await embedded(e, "hello", long)
        found = await embedded(e, "hello " * 400, "hello" * 700)
        assert [len(vector) for vector in found.vectors] == [64, 64]


@pytest.mark.parametrize(
    ("inputs", "fields", "words"),
    [
        (((1, 2, 3),), {}, "token ids"),
        (("a",), {"dimensions": 16}, "vectors of 32 numbers"),
    ],
)
async def test_what_the_model_cannot_do_is_refused(engine, encoder, inputs, fields, words):
    async with engine(encoder) as e:
        with pytest.raises(InvalidRequest, match=words):
            await embedded(e, *inputs, **fields)
        assert (await embedded(e, "a", dimensions=32)).tokens == 3


async def test_googles_task_is_dropped_with_a_line(engine, encoder):
    async with engine(encoder) as e:
        await embedded(e, "a", task="RETRIEVAL_QUERY")
        assert "drop taskType" in str([entry.what for entry in e.exchanges[-1].receipt])


async def test_each_kind_of_model_says_what_it_is_for(engine, encoder, models):
    async with engine(encoder) as e:
        with pytest.raises(InvalidRequest, match="is an embedding model"):
            await e.send("hello")
        with pytest.raises(InvalidRequest, match="is an embedding model"):
            await e.count("hello")
        (info, *_) = await e.backend.models()
        assert info.capabilities == {"embeddings"}
    async with engine(models["full"]) as e:
        with pytest.raises(InvalidRequest, match="is not an embedding model"):
            await embedded(e, "a")


@pytest.mark.parametrize("pooling", quick_first([1, None, 2, 3, 0], 2))
async def test_every_pooling_gives_one_vector(engine, tmp_path, pooling):
    path = tiny_encoder.write(tmp_path / "pooled.gguf", pooling=pooling)
    async with engine(path) as e:
        (vector,) = (await embedded(e, "hello")).vectors
        assert len(vector) == 32


async def test_a_reranker_is_no_embedding_model(engine, tmp_path):
    path = tiny_encoder.write(tmp_path / "rank.gguf", pooling=4)
    async with engine(path) as e:
        with pytest.raises(BackendUnavailable, match="is a reranking model"):
            await embedded(e, "a")


async def test_a_worker_that_died_is_started_again(engine, encoder, caplog):
    async with engine(encoder) as e:
        await embedded(e, "a")
        e.loaded.supervisor.kill()
        with suppress(BackendUnavailable):  # unless it was started again before it is asked
            await embedded(e, "a")
        assert (await embedded(e, "a")).tokens == 3
    assert "the worker ended (signal SIGKILL)" in caplog.text


async def test_an_openai_client_gets_them(encoder):
    plugin = build_plugin(LlamaCpp, "local", model=str(encoder))
    async with (
        gateway([build_plugin(OpenAIApi, "openai-api"), plugin]) as found,
        httpx2.AsyncClient(base_url=found.url, trust_env=False, timeout=60) as client,
    ):
        answer = await client.post(
            "/v1/embeddings",
            json={"model": "local/tiny-bert", "input": ["hello", "world"]},
            headers={"authorization": f"Bearer {found.token}"},
        )
    assert answer.status_code == 200, answer.text
    assert [entry["index"] for entry in answer.json()["data"]] == [0, 1]
    assert answer.json()["usage"]["prompt_tokens"] == 14


def with_weights(path, value):
    """The model again, with that number in all weights and biases of its last norm."""
    damaged = bytearray(path.read_bytes())
    for tensor in odd_gguf.gguf.GGUFReader(str(path)).tensors:
        if tensor.name.startswith("blk.0.layer_output_norm"):
            numbers = np.full(tensor.n_elements, value, np.float32).tobytes()
            damaged[tensor.data_offset : tensor.data_offset + len(numbers)] = numbers
    path.write_bytes(damaged)
    return path


@pytest.mark.parametrize(
    ("value", "words"),
    [(math.nan, "infinite or undefined"), (math.inf, "infinite or undefined"), (0, "only zeros")],
)
async def test_vectors_without_a_meaning_are_an_error_that_names_the_model(encoder, value, words):
    plugin = build_plugin(LlamaCpp, "local", model=str(with_weights(encoder, value)))
    async with (
        gateway([build_plugin(OpenAIApi, "openai-api"), plugin]) as found,
        httpx2.AsyncClient(base_url=found.url, trust_env=False, timeout=60) as client,
    ):
        answer = await client.post(
            "/v1/embeddings",
            json={"model": "local/tiny-bert", "input": ["hello", "world"]},
            headers={"authorization": f"Bearer {found.token}"},
        )
    assert answer.status_code == 503, answer.text
    assert "`tiny-bert` created a vector" in answer.text
    assert words in answer.text
    assert "input[0]" in answer.text


@pytest.mark.parametrize("stated", quick_first([1, 100_000, 16, 33, 64], 2))
async def test_a_wrong_length_in_the_header_is_an_error_and_no_crash(
    engine, encoder, tmp_path, stated
):
    wrong = {"bert__embedding_length_out": stated}
    path = odd_gguf.rewrite(encoder, tmp_path / "wrong.gguf", **wrong)
    async with engine(path) as e:
        with pytest.raises(BackendUnavailable, match=f"have {stated} numbers .* computes 32"):
            await embedded(e, "a", "b")
        assert not e.loaded.supervisor.crashes


async def test_the_right_length_in_the_header_is_accepted(engine, encoder, tmp_path):
    right = {"bert__embedding_length_out": 32}
    path = odd_gguf.rewrite(encoder, tmp_path / "right.gguf", **right)
    async with engine(path) as e:
        found = await embedded(e, "a", "b")
        assert [len(vector) for vector in found.vectors] == [32, 32]


class Answers:
    """A worker that says `width`, and answers every request with the same numbers."""

    def __init__(self, width, numbers):
        self.width, self.body = width, array("f", numbers).tobytes()

    async def ready(self):
        return {"width": self.width}

    async def call(self, header, body):
        return self

    async def aclose(self):
        pass

    async def __aiter__(self):
        yield Frame({"end": True, "tokens": 1}, self.body)


@pytest.mark.parametrize("numbers", [[], [1.0], [1.0] * 3, [1.0] * 6])
async def test_another_number_of_vectors_than_of_texts_is_never_returned(engine, encoder, numbers):
    async with engine(encoder) as e:
        attempt = e.attempt(e.request("embeddings"))
        wanted = Wanted("default", ("a", "b"))
        with pytest.raises(BackendUnavailable, match="2 vectors of 2 numbers"):
            await vectors_of(Answers(2, numbers), wanted, attempt, "m")
