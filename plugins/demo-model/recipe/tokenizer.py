"""Train the tokenizer: words never carry a leading space, so a copy is always the same tokens.

Merges are learnt on text cut into letters, single digits, single punctuation marks and runs of
spaces; at run time the cut is llama.cpp's `deepseek-coder`, which cuts at fewer places. Since no
merge crosses the finer cuts, both give the same tokens.
"""

from __future__ import annotations

import argparse
import pathlib
import random
from collections.abc import Iterator

from generate import conversation, load_template
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from words import filler, library_text

CONTROL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|tools|>",
    "<|file|>",
    "<|user|>",
    "<|request|>",
    "<|result|>",
]
PLAIN = (
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "\\n",
    '\\"',
    "\\\\",
    "\\t",
)


def cut(*patterns: str) -> pre_tokenizers.PreTokenizer:
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(False, use_regex=False)])


RUN_TIME = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")
LEARNING = (r"[\r\n]", r"\p{L}+", r"\p{P}", r"\p{S}", r"\p{N}", r"[ \t]+")


def texts(count: int) -> Iterator[str]:
    rng = random.Random(7)
    template = load_template()
    for _ in range(count):
        messages, tools = conversation(rng)
        text = template.render(messages=messages, tools=tools)
        for mark in (*CONTROL, *PLAIN):
            text = text.replace(mark, "\n")
        yield text
        yield filler(rng, 600)
    yield from (text[:20000] for text in library_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--samples", type=int, default=6000)
    options = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cut(*LEARNING)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts(options.samples),
        trainers.BpeTrainer(
            vocab_size=options.size - len(PLAIN),
            special_tokens=list(CONTROL),
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=14,
        ),
    )
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in PLAIN])
    tokenizer.pre_tokenizer = cut(*RUN_TIME)
    tokenizer.save(str(options.out))
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
