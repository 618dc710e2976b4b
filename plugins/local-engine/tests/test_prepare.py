"""A prompt that was counted is not rendered again to be served."""

import threading

import numpy as np
import orjson
import pytest

from plugway_local_engine import _prepare
from plugway_local_engine._contract import Vocabulary
from plugway_local_engine._frames import Frame
from plugway_local_engine._prepare import PLAIN_TEMPLATE, Preparer, Window
from plugway_local_engine._template import ChatTemplate

PIECES = [bytes([byte]) for byte in range(256)] + [b"<|im_start|>", b"<|im_end|>"]
HELLO = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 64}


class Bytes(Vocabulary):
    """Every byte is a token."""

    vocabulary_size = len(PIECES)
    ends = frozenset((257,))
    controls = np.array([len(piece) > 1 for piece in PIECES])
    adds_bos = False

    def special(self, name):
        return -1

    def tokenize(self, text, *, start=False):
        data = text.encode()
        for token in (256, 257):
            data = data.replace(PIECES[token], bytes([token - 255]))
        found = np.frombuffer(data, np.uint8).astype(np.int32)
        return np.where((found == 1) | (found == 2), found + 255, found)

    def piece(self, token):
        return PIECES[token]


class Worker:
    """A preparer whose answers and jobs are kept."""

    def __init__(self):
        self.sent, self.jobs, self._done = [], [], threading.Semaphore(0)
        template = ChatTemplate(PLAIN_TEMPLATE)
        self.preparer = Preparer(
            self, self._submit, self._job, Bytes(), Window(4096), template, grammars=None
        )

    def send(self, header):
        self.sent.append(header)
        self._done.release()

    def _job(self, number, owner, tokens, *rest, **more):
        return tokens

    def _submit(self, tokens):
        self.jobs.append(tokens)
        self._done.release()

    def ask(self, op, body, caller="owner"):
        self.preparer.take(Frame({"id": 1, "op": op, "caller": caller}, orjson.dumps(body)))
        assert self._done.acquire(timeout=20)


@pytest.fixture
def renders(monkeypatch):
    done, render = [], _prepare.render_prompt

    def counted(*args, **more):
        done.append(args)
        return render(*args, **more)

    monkeypatch.setattr(_prepare, "render_prompt", counted)
    return done


def test_what_was_counted_is_served_without_being_rendered_again(renders):
    worker = Worker()
    worker.ask("count", HELLO)
    worker.ask("generate", {**HELLO, "max_tokens": 7, "temperature": 0.5, "stream": True})
    assert len(renders) == 1
    assert worker.sent == [{"id": 1, "end": True, "count": len(worker.jobs[0])}]
    assert b"Hello." in b"".join(PIECES[token] for token in worker.jobs[0])
    worker.ask("generate", HELLO)
    assert len(renders) == 2, "it is kept until it is served, no longer"
    assert worker.jobs[1].tolist() == worker.jobs[0].tolist()


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "Hello!"}]},
        {"system": "Be brief."},
        {"tools": [{"name": "Read", "input_schema": {"type": "object"}}]},
        {"chat_template_kwargs": {"enable_thinking": True}},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_prompt_is_rendered(renders, change):
    worker = Worker()
    worker.ask("count", HELLO)
    worker.ask("generate", {**HELLO, **change})
    assert len(renders) == 2


def test_another_callers_prompt_is_rendered(renders):
    worker = Worker()
    worker.ask("count", HELLO)
    worker.ask("generate", HELLO, caller="phone")
    assert len(renders) == 2
