"""Endless stream of packed training rows: tokens and the weight of each token in the loss."""

from __future__ import annotations

import pathlib
import random
from collections.abc import Iterator

import numpy as np
import torch
from generate import conversation, load_template
from tokenizers import Tokenizer
from torch.utils.data import IterableDataset
from words import filler

REQUEST_WEIGHT = 0.3


class Rows(IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    def __init__(self, tokenizer: pathlib.Path, length: int, seed: int, noise: float = 1.0) -> None:
        self.path, self.length = str(tokenizer), length
        self.seed, self.noise = seed, noise

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        tokenizer = Tokenizer.from_file(self.path)
        template = load_template()
        rng = random.Random(self.seed)
        start, end, newline = (
            tokenizer.token_to_id(t) for t in ("<|im_start|>", "<|im_end|>", "Ċ")
        )
        assistant = tokenizer.encode("assistant").ids
        request, result = (tokenizer.token_to_id(t) for t in ("<|request|>", "<|result|>"))
        called = tokenizer.token_to_id("<tool_call>")
        unknown = tokenizer.encode("<|user|>unknown<|im_end|>").ids

        def weigh(ids: list[int]) -> list[float]:
            weights = [0.0] * len(ids)
            current, position, foreign = 0.0, 0, False
            while position < len(ids):
                token = ids[position]
                if token == start:
                    body = position + 1 + len(assistant)
                    if ids[position + 1 : body] == assistant and ids[body] == newline:
                        # what another model called is never learnt
                        position = body + 1
                        current = 0.0 if foreign and ids[position] == called else 1.0
                        foreign = False
                        continue
                elif ids[position : position + len(unknown)] == unknown:
                    foreign = True
                elif token == request:
                    current = REQUEST_WEIGHT
                    position += 1
                    continue
                elif token == result:
                    current = 0.0
                weights[position] = current
                if token == end:
                    current = 0.0
                position += 1
            return weights

        while True:
            size = rng.choice([3, 3, 60, 200, 800] if self.noise > 0.5 else [3, 30])
            ids = tokenizer.encode(filler(rng, size)).ids[:500]
            weights = [0.0] * len(ids)
            while len(ids) <= self.length:
                messages, tools = conversation(rng, self.noise)
                more = tokenizer.encode(template.render(messages=messages, tools=tools)).ids
                ids += more
                weights += weigh(more)
            yield (
                torch.from_numpy(np.array(ids[: self.length + 1], dtype=np.int64)),
                torch.from_numpy(np.array(weights[1 : self.length + 1], dtype=np.float32)),
            )
