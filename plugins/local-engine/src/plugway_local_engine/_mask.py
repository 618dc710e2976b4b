"""Token masks: the tokens that a grammar allows next. The only module that uses `llguidance`.

See `_grammar` for the contents of a grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

_LIMITS: Final = LLParserLimits(
    initial_lexer_fuel=2_000_000,
    step_lexer_fuel=400_000,
    step_max_items=100_000,
    max_lexer_states=100_000,
)


_KEPT: Final = 16
"""Maximum compiled grammars that are cached: the tools of a conversation rarely change."""


class GrammarError(ValueError):
    """The grammar cannot be used; the message has the reason."""


class GrammarTokenizer:
    """A model's vocabulary in the form that grammars need. Takes about a second: one per model."""

    def __init__(self, inner: LLTokenizer, special: Mapping[str, int]) -> None:
        """Use one of the class methods."""
        self.inner = inner
        self.special = dict(special)
        """Tokens that are a complete marker, by their text."""
        self.size = int(inner.vocab_size)
        ordered = sorted(self.special, key=len, reverse=True)
        self._splitter = re.compile(f"({'|'.join(map(re.escape, ordered))})")
        self._compiled: dict[str, LLMatcher] = {}

    @classmethod
    def of_llama_cpp(cls, vocab: Any, *, eos: Sequence[int] | None = None) -> GrammarTokenizer:
        """Build it from a `llama_vocab_p`. Needs `llama_cpp`, so use it in the worker only.

        `eos` are the tokens that end a reply, if the vocabulary's own do not suffice.
        """
        from llguidance.llamacpp import lltokenizer_from_vocab  # noqa: PLC0415 -- needs the engine

        inner = lltokenizer_from_vocab(vocab, eos_token=list(eos) if eos else None)
        return cls(inner, _special_texts(inner))

    @classmethod
    def of_hugging_face(cls, tokenizer: str, size: int, *, eos: Sequence[int]) -> GrammarTokenizer:
        """Build it from the text of a `tokenizer.json` with `size` tokens."""
        inner = LLTokenizer(tokenizer, n_vocab=size, eos_token=list(eos))
        # Added tokens such as `<tool_call>` are special to llguidance, whatever the file says.
        return cls(inner, _special_texts(inner))

    @classmethod
    def of_tokens(
        cls,
        tokens: Sequence[bytes],
        *,
        eos: int | Sequence[int],
        special: Mapping[str, int],
        encode: Callable[[bytes], list[int]] | None = None,
    ) -> GrammarTokenizer:
        """Build it from the bytes of each token. Without `encode`, tokenizes greedily by bytes."""
        wrapper = TokenizerWrapper(_Vocabulary(tokens, eos, special.values(), encode))
        ends = [eos] if isinstance(eos, int) else list(eos)
        return cls(LLTokenizer(wrapper, n_vocab=len(tokens), eos_token=ends), special)

    def split(self, text: str) -> list[str]:
        """Split `text` so that each marker that is one token is a separate piece."""
        if not self.special:
            return [text] if text else []
        return [piece for piece in self._splitter.split(text) if piece]

    def mask(self, grammar: str) -> TokenMask:
        """A new mask for an llguidance grammar.

        Raises:
            GrammarError: the grammar is invalid or too complex.
        """
        matcher = self._compiled.get(grammar)
        if matcher is None:
            matcher = LLMatcher(self.inner, grammar, log_level=0, limits=_LIMITS)
            if matcher.is_error():
                raise GrammarError(matcher.get_error().split("\n")[0][:300])
            if len(self._compiled) >= _KEPT:
                self._compiled.pop(next(iter(self._compiled)))
            self._compiled[grammar] = matcher
        return TokenMask(self, matcher.deep_copy())


def grammar_of_schema(schema: Mapping[str, Any]) -> str:
    """The grammar of one JSON value."""
    return str(LLMatcher.grammar_from_json_schema(dict(schema)))


def grammar_problem(grammar: str) -> str:
    """What is wrong with a grammar; empty if nothing is."""
    found = LLMatcher.validate_grammar(grammar, None, limits=_LIMITS)
    return "" if found.startswith("WARNING") else found.split("\n")[0][:300]


def pattern_works(pattern: str) -> bool:
    """Whether a grammar supports this regular expression."""
    return not grammar_problem(LLMatcher.grammar_from_regex(pattern))


class TokenMask:
    """The state of one reply in its grammar."""

    def __init__(self, tokenizer: GrammarTokenizer, matcher: LLMatcher) -> None:
        self._tokenizer, self._matcher = tokenizer, matcher
        self._bits = np.zeros((tokenizer.size + 31) // 32, dtype=np.int32)

    def apply(self, logits: NDArray[np.float32]) -> bool:
        """Set the logits of tokens that are not allowed to `-inf`, in place. False, without a
        change, if no token is allowed.

        That happens after a failure (`failed`): continue without the mask, or decode again.
        """
        self._matcher.unsafe_compute_mask_ptr(self._bits.ctypes.data, self._bits.nbytes)
        if self.failed:
            return False
        allowed = np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: logits.size]
        if not allowed.any():
            return False
        logits[: allowed.size][allowed == 0] = -np.inf
        logits[allowed.size :] = -np.inf
        return True

    def accept(self, token: int) -> bool:
        """Advance by the sampled token; False if the grammar does not allow it."""
        return bool(self._matcher.consume_token(token))

    def advance(self, text: str) -> bool:
        """Advance by text that was generated before the mask; False if it does not match."""
        return all(self._take(piece) for piece in self._tokenizer.split(text))

    def _take(self, piece: str) -> bool:
        special = self._tokenizer.special.get(piece)
        if special is not None and self._matcher.try_consume_tokens([special]) == 1:
            return True
        tokens = self._tokenizer.inner.tokenize_str(piece)
        return self._matcher.try_consume_tokens(tokens) == len(tokens)

    def forced(self) -> list[int]:
        """The only tokens that can follow now. They still have to be accepted."""
        return list(self._matcher.compute_ff_tokens())

    def rollback(self, count: int) -> bool:
        """Undo the last `count` accepted tokens."""
        return bool(self._matcher.rollback(count))

    @property
    def accepting(self) -> bool:
        """Whether the reply may end here."""
        return bool(self._matcher.is_accepting())

    @property
    def stopped(self) -> bool:
        """Whether only the end token may follow."""
        return bool(self._matcher.is_stopped())

    @property
    def failed(self) -> bool:
        """Whether the grammar became too complex, or got text that it does not allow."""
        return bool(self._matcher.is_error())

    @property
    def failure(self) -> str:
        """Why it failed; empty if it has not."""
        return str(self._matcher.get_error()).split("\n")[0][:300]


class _Vocabulary:
    def __init__(
        self,
        tokens: Sequence[bytes],
        eos: int | Sequence[int],
        special: Iterable[int],
        encode: Callable[[bytes], list[int]] | None,
    ) -> None:
        self.tokens = list(tokens)
        self.eos_token_id = eos if isinstance(eos, int) else eos[0]
        self.bos_token_id = None
        self.special_token_ids = sorted({*special, self.eos_token_id})
        self._encode = encode or _greedy(self.tokens, set(self.special_token_ids))

    def __call__(self, text: bytes) -> list[int]:
        return self._encode(text)


def _greedy(tokens: list[bytes], special: set[int]) -> Callable[[bytes], list[int]]:
    known = {token: number for number, token in enumerate(tokens) if number not in special}
    longest = max(map(len, known), default=1)

    def encode(text: bytes) -> list[int]:
        found: list[int] = []
        at = 0
        while at < len(text):
            size = next(n for n in range(longest, 0, -1) if text[at : at + n] in known)
            found.append(known[text[at : at + size]])
            at += size
        return found

    return encode


def _special_texts(inner: LLTokenizer) -> dict[str, int]:
    special = (token for token in range(inner.vocab_size) if inner.is_special_token(token))
    texts = {token: inner.decode_bytes([token]) for token in special}
    return {_clean(raw): token for token, raw in texts.items() if raw}


def _clean(raw: bytes) -> str:
    return raw.removeprefix(b"\xff").decode("utf-8", "replace")
