"""Expansion of phrase patterns such as `[please |]create {file}`."""

from __future__ import annotations

import functools
import random

Node = str | list["list[Node]"]


@functools.lru_cache(maxsize=4096)
def _parse(pattern: str) -> list[Node]:
    position = 0

    def sequence(inside: bool) -> list[list[Node]]:
        nonlocal position
        branches: list[list[Node]] = [[]]
        text = ""
        while position < len(pattern):
            char = pattern[position]
            position += 1
            if char == "[":
                branches[-1].append(text)
                text = ""
                branches[-1].append(sequence(True))
            elif char == "|" and inside:
                branches[-1].append(text)
                text = ""
                branches.append([])
            elif char == "]" and inside:
                break
            else:
                text += char
        branches[-1].append(text)
        return branches

    return sequence(False)[0]


def expand(rng: random.Random, pattern: str) -> str:
    def walk(nodes: list[Node]) -> str:
        return "".join(node if isinstance(node, str) else walk(rng.choice(node)) for node in nodes)

    return walk(_parse(pattern))
