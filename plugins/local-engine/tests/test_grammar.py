"""Constrained decoding: whatever a model with random opinions samples, the result is valid."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import llguidance
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from plugway_local_engine import (
    GrammarTokenizer,
    ToolChoice,
    arguments_constraint,
    build_constraint,
)
from plugway_local_engine._mask import GrammarError
from plugway_toolcalls import FAMILIES, OutputParser, Tool, check_arguments
from plugway_toolcalls._terminals import JSON_STRING
from plugway_toolcalls.testing import as_blocks
from tests.slow import seeds

from .conftest import TOOLS

BY_NAME = {family.name: family for family in FAMILIES}
HERMES = BY_NAME["hermes"]
NAMES = sorted({name for tool in TOOLS for name in tool.schema.get("properties", {})} | {"item"})
_LONG = 300
_MARKER = re.compile(r"<[|｜][^<>\n]*>|<[^<>\n|]*\|>|\[[A-Z_/]+\]|</?tool_call>|<\|\"\|>")


@cache
def tokenizer(name: str, special: bool) -> tuple[GrammarTokenizer, tuple[bytes, ...]]:
    """Bytes, the ends of values as tokens so that they come now and then, and markers."""
    family = BY_NAME[name]
    texts: list[str] = []
    ends: list[str] = []
    for spec in family.calls:
        if spec.shape is not None:
            texts += [spec.opening, spec.shape.before, spec.shape.between, spec.shape.after]
            texts.append(spec.shape.quote)
            ends += [spec.shape.value_end.replace("{key}", name) for name in NAMES]
            ends.append(spec.shape.quote)
    marks = [mark for text in [*texts, *family.section] for mark in _MARKER.findall(text)]
    marks = sorted(set(marks)) if special else []
    plain = [bytes([value]) for value in range(256)]
    plain += [end.encode() for end in sorted(set(ends)) if len(end) > 1 and end not in marks] * 1
    tokens = (*plain, *(mark.encode() for mark in marks), b"<eos>")
    numbers = {mark: len(plain) + n for n, mark in enumerate(marks)}
    made = GrammarTokenizer.of_tokens(tokens, eos=len(tokens) - 1, special=numbers)
    return made, tokens


def decode(mask, tokens, seed: int, limit: int = 6000) -> tuple[str, bool]:
    """Sample from random logits under `mask`; the text, and whether it came to its end."""
    opinions = np.random.default_rng(seed)
    found = b""
    closers = [n for n, token in enumerate(tokens) if len(token) > 1 or token in b'"}]/']
    for number in range(limit):
        logits = opinions.standard_normal(len(tokens)).astype(np.float32)
        if number > _LONG:
            logits[closers] += 9  # it wants to come to an end
        # Letters rarely, so that strings end some time.
        logits[128:256] -= 2
        if not mask.apply(logits):
            return found.decode("utf-8", "replace"), False
        token = int(np.argmax(logits))
        assert mask.accept(token)
        if token == len(tokens) - 1:
            break
        found += tokens[token]
        if mask.stopped:
            break
    else:
        return found.decode("utf-8", "replace"), False
    return found.decode("utf-8"), True


def problems(blocks) -> list[str]:
    by_name = {tool.name: tool for tool in TOOLS}
    wrong = [str(block) for block in blocks if block[0] != "call"]
    for block in blocks:
        if block[0] == "call":
            wrong += check_arguments(by_name[block[1]].schema, block[2])
    return wrong


@pytest.mark.parametrize("special", [True, False], ids=["marker-tokens", "plain-text"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_forced_call_is_valid_in_every_family(family, special):
    made, tokens = tokenizer(family.name, special)
    for seed in seeds(2, 4):
        choice = ToolChoice("any", parallel=seed % 2 == 0)
        mask = build_constraint(family, TOOLS, choice).whole(made)
        assert mask is not None
        text, ended = decode(mask, tokens, seed)
        assert ended, text[:200]
        parser = OutputParser(family, TOOLS)
        blocks = as_blocks(parser.feed(text) + parser.finish())
        assert problems(blocks) == []
        assert blocks
        assert len(blocks) == 1 or choice.parallel


@pytest.mark.parametrize("special", [True, False], ids=["marker-tokens", "plain-text"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_call_that_has_begun_is_held_to_its_schema(family, special):
    made, tokens = tokenizer(family.name, special)
    constraint = build_constraint(family, TOOLS, ToolChoice())
    assert constraint.mode == "calls"
    assert constraint.whole(made) is None
    spec = next(spec for spec in family.calls if spec.shape)
    begun = spec.opening or '{"name":'
    begun += f"{TOOLS[0].name}\n" if family.recipients else ""
    parser = OutputParser(family, TOOLS)
    assert parser.feed(begun) == []
    assert parser.pending is not None
    mask = constraint.call(made, parser.pending)
    assert mask is not None, constraint.problems
    text, ended = decode(mask, tokens, 3)
    assert ended, text[:200]
    blocks = as_blocks(parser.feed(text) + parser.finish())
    assert problems(blocks) == []
    assert len(blocks) == 1


def test_a_call_may_have_got_on_before_its_mask_is_made():
    made, tokens = tokenizer("hermes", True)
    constraint = build_constraint(HERMES, TOOLS, ToolChoice())
    parser = OutputParser(HERMES, TOOLS)
    parser.feed('<tool_call>\n{"name":"Re')
    mask = constraint.call(made, parser.pending)
    assert mask is not None
    text, _ = decode(mask, tokens, 1)
    assert text.startswith("ad")


def test_a_call_that_went_astray_is_left_alone():
    made, _ = tokenizer("hermes", True)
    constraint = build_constraint(HERMES, TOOLS, ToolChoice())
    parser = OutputParser(HERMES, TOOLS)
    parser.feed('<tool_call>\n{"title"')
    assert constraint.call(made, parser.pending) is None


def test_harmony_calls_are_held_to_the_schema_of_the_tool_in_their_header():
    family = BY_NAME["harmony"]
    made, tokens = tokenizer("harmony", True)
    parser = OutputParser(family, TOOLS)
    parser.feed("<|start|>assistant to=functions.Bash<|channel|>commentary json<|message|>")
    mask = build_constraint(family, TOOLS, ToolChoice()).call(made, parser.pending)
    assert mask is not None
    text, ended = decode(mask, tokens, 5)
    assert ended
    blocks = as_blocks(parser.feed(text) + parser.finish())
    assert [block[1] for block in blocks] == ["Bash"]
    assert problems(blocks) == []


def test_a_named_tool_is_the_only_one_called():
    made, tokens = tokenizer("hermes", True)
    for seed in range(5):
        constraint = build_constraint(HERMES, TOOLS, ToolChoice("tool", "Bash"))
        assert constraint.single
        text, ended = decode(constraint.whole(made), tokens, seed)
        parser = OutputParser(HERMES, TOOLS)
        assert ended
        assert [b[1] for b in as_blocks(parser.feed(text) + parser.finish())] == ["Bash"]


def test_no_tool_may_be_called_where_none_is_chosen():
    constraint = build_constraint(HERMES, TOOLS, ToolChoice("none"))
    assert constraint.mode == "free"
    assert "<tool_call>" in constraint.banned
    made, _ = tokenizer("hermes", True)
    assert "<tool_call>" in made.special


def test_a_tool_that_does_not_exist_is_noted():
    constraint = build_constraint(HERMES, TOOLS, ToolChoice("tool", "Fly"))
    assert any("there is no tool with that name" in note for note in constraint.notes)
    assert constraint.mode == "whole"


def test_an_output_format_is_kept():
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer"}},
        "required": ["ok", "n"],
    }
    made, tokens = tokenizer("hermes", True)
    for seed in range(10):
        constraint = build_constraint(HERMES, (), ToolChoice(), schema=schema)
        text, ended = decode(constraint.whole(made), tokens, seed)
        assert ended
        Draft202012Validator(schema).validate(json.loads(text))


def test_an_output_format_leaves_room_for_calls():
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    made, tokens = tokenizer("hermes", True)
    starts = set()
    for seed in range(30):
        constraint = build_constraint(HERMES, TOOLS, ToolChoice(), schema=schema)
        text, ended = decode(constraint.whole(made), tokens, seed)
        assert ended
        starts.add(text[:1])
    assert starts == {"{", "<"}


def test_arguments_alone_can_be_decoded_again():
    made, tokens = tokenizer("glm", True)
    text, ended = decode(arguments_constraint(BY_NAME["glm"], TOOLS[0]).whole(made), tokens, 1)
    assert ended
    assert check_arguments(TOOLS[0].schema, text) == []


def test_a_mask_rolls_back():
    made, tokens = tokenizer("hermes", True)
    mask = build_constraint(HERMES, TOOLS, ToolChoice("tool", "Read")).whole(made)
    forced = mask.forced()
    assert tokens[forced[0]] == b"<tool_call>"
    assert mask.accept(forced[0])
    assert not mask.accepting
    assert mask.rollback(1)
    assert mask.forced() == forced
    assert mask.advance("<tool_call>\n{")
    assert not mask.stopped


def test_a_mask_that_was_fed_nonsense_says_so():
    made, _ = tokenizer("hermes", True)
    mask = build_constraint(HERMES, TOOLS, ToolChoice("any")).whole(made)
    assert not mask.accept(0)
    assert mask.failed
    assert mask.failure
    assert not mask.apply(np.zeros(made.size, dtype=np.float32))


class Schemas:
    """Random schemas as tools have them."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def object(self, depth: int = 0) -> dict:
        names = self._random.sample(["path", "old", "new", "n", "é", "with space", "x-y"], 3)
        properties = {name: self.any(depth + 1) for name in names}
        required = [name for name in names if self._random.random() < 0.6]
        # A model with random opinions would make up names without end.
        closed = {"additionalProperties": False}
        return {"type": "object", "properties": properties, "required": required, **closed}

    def any(self, depth: int) -> dict:
        kinds = [self._string, self._number, self._choice, self._plain]
        if depth < 3:
            kinds += [self._array, self.object, self._any_of]
        made = self._random.choice(kinds)
        if made == self.object:
            return self.object(depth + 1)
        return made(depth) if made in (self._array, self._any_of) else made()

    def _string(self) -> dict:
        pick = self._random.random()
        if pick < 0.3:
            low = self._random.randint(0, 5)
            return {"type": "string", "minLength": low, "maxLength": low + 5}
        if pick < 0.6:
            patterns = ["^[a-z]{2,5}$", "^/[a-z/]*$", "^(?:a|b)+c", r"^\d{4}-\d{2}$"]
            return {"type": "string", "pattern": self._random.choice(patterns)}
        return {"type": "string"}

    def _number(self) -> dict:
        low = self._random.randint(-50, 50)
        kind = self._random.choice(["integer", "number"])
        bounds = [{}, {"minimum": low}, {"maximum": low}, {"minimum": low, "maximum": low + 9}]
        return {"type": kind, **self._random.choice(bounds)}

    def _choice(self) -> dict:
        return self._random.choice(
            [{"enum": ["a", "b", 3, None]}, {"const": "fixed"}, {"type": "string", "enum": ["on"]}]
        )

    def _plain(self) -> dict:
        return self._random.choice([{"type": "boolean"}, {"type": ["string", "null"]}, {}])

    def _array(self, depth: int) -> dict:
        low = self._random.randint(0, 2)
        return {"type": "array", "items": self.any(depth + 1), "minItems": low, "maxItems": low + 3}

    def _any_of(self, depth: int) -> dict:
        return {"anyOf": [self.any(depth + 1), self.any(depth + 1)]}


def test_random_schemas_give_valid_calls():
    made, tokens = tokenizer("hermes", True)
    for seed in seeds(50, 200):
        schema = Schemas(seed).object()
        tool = Tool("T", "", schema)
        constraint = build_constraint(HERMES, [tool], ToolChoice("tool", "T"))
        mask = constraint.whole(made)
        assert mask is not None, (constraint.problems, schema)
        text, ended = decode(mask, tokens, seed)
        assert ended, (schema, text[:200], mask.failure)
        parser = OutputParser(HERMES, [tool])
        (block,) = as_blocks(parser.feed(text) + parser.finish())
        assert block[0] == "call"
        Draft202012Validator(schema).validate(block[2])


HOSTILE = {
    "a reference to itself": {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "no finite value": {
        "properties": {"a": {"$ref": "#/$defs/n"}},
        "required": ["a"],
        "$defs": {
            "n": {
                "type": "object",
                "properties": {"n": {"$ref": "#/$defs/n"}},
                "required": ["n"],
            }
        },
    },
    "a ring": {
        "properties": {"a": {"$ref": "#/$defs/x"}},
        "required": ["a"],
        "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"$ref": "#/$defs/x"}},
    },
    "a tree": {
        "properties": {"a": {"$ref": "#/$defs/t"}},
        "required": ["a"],
        "$defs": {
            "t": {
                "type": "object",
                "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/t"}}},
            }
        },
    },
    "a remote reference": {"properties": {"a": {"$ref": "http://127.0.0.1:9/x"}}},
    "a catastrophic pattern": {"properties": {"a": {"type": "string", "pattern": "(a+)+$"}}},
    "a look-ahead": {"properties": {"a": {"type": "string", "pattern": "(?=a)b"}}},
    "a long pattern": {"properties": {"a": {"type": "string", "pattern": "(a|b){5000}" * 9}}},
    "an unknown format": {"properties": {"a": {"type": "string", "format": "zip"}}},
    "a format that is no text": {"properties": {"a": {"type": "string", "format": {"x": []}}}},
    "an unknown type": {"properties": {"a": {"type": "bogus"}}},
    "many items": {"properties": {"a": {"type": "array", "minItems": 10**9}}},
    "no value": {"properties": {"a": {"enum": []}}, "required": ["a"]},
    "contradictions": {"properties": {"a": {"type": "integer", "minimum": 5, "maximum": 1}}},
    "conditions": {"not": {"required": ["a"]}, "if": {}, "then": False, "uniqueItems": True},
    "guidance options": {"x-guidance": {"whitespace_flexible": True}, "type": "object"},
    "ten megabytes": {"properties": {"a": {"description": "x" * (10 << 20)}}},
    "many values": {"properties": {f"p{n}": {"type": "string"} for n in range(100_000)}},
}


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_schema_gives_an_object_or_a_reason_at_once(schema):
    made, tokens = tokenizer("hermes", True)
    started = time.process_time()
    constraint = build_constraint(
        HERMES, [Tool("T", "", schema)], ToolChoice("any", parallel=False)
    )
    mask = constraint.whole(made)
    assert time.process_time() - started < 2
    if mask is None:
        assert constraint.problems
        return
    text, ended = decode(mask, tokens, 2)
    if ended:
        parser = OutputParser(HERMES, [Tool("T", "", schema)])
        assert [b[0] for b in as_blocks(parser.feed(text) + parser.finish())] == ["call"]
    else:
        assert mask.failed or len(text) > 1000


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no finite value", "circular"),
        ("a ring", "circular"),
        ("a remote reference", "is not followed"),
        ("a look-ahead", "is not used"),
        ("an unknown type", "is unknown"),
        ("conditions", "checked afterwards"),
        ("ten megabytes", "not constrained"),
        ("many values", "not constrained"),
    ],
)
def test_what_is_simplified_is_said(name, words):
    constraint = build_constraint(HERMES, [Tool("T", "", HOSTILE[name])], ToolChoice("any"))
    assert any(words in note and "of `T`" in note for note in constraint.notes)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "string", "minLength": 10, "maxLength": 2},
        {"type": "integer", "minimum": 5, "maximum": 1},
        {"type": "array", "minItems": 5, "maxItems": 1},
        {"enum": []},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
    ],
    ids=str,
)
def test_a_schema_that_the_grammar_refuses_is_told_with_tool_property_and_reason(wrong):
    schema = {"type": "object", "properties": {"mode": wrong}, "required": ["mode"]}
    constraint = build_constraint(HERMES, [Tool("Read", "", schema)], ToolChoice("any"))
    (note,) = [note for note in constraint.notes if "not constrained" in note]
    assert "of `Read`" in note
    assert "'mode'" in note


class TooComplex:
    """A tokenizer for which every grammar is too complex."""

    special: Mapping[str, int] = MappingProxyType({})

    def split(self, text):
        return [text]

    def mask(self, grammar):
        raise GrammarError("too many states")


def test_a_grammar_that_fails_for_all_tools_together_names_the_largest():
    large = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(50)}}
    tools = [Tool("Bash", "", {"type": "object"}), Tool("Create", "", large), Tool("Read", "", {})]
    constraint = build_constraint(HERMES, tools, ToolChoice("any"))
    assert constraint.whole(TooComplex()) is None
    (problem,) = constraint.problems
    assert "too many states" in problem
    assert "that of `Create`" in problem


def test_a_hundred_tools_are_ready_in_a_moment():
    made, _ = tokenizer("hermes", True)
    tools = [Tool(f"tool_{n}", "", Schemas(n).object()) for n in range(100)]
    build_constraint(HERMES, tools, ToolChoice("any")).whole(made)
    started = time.process_time()
    assert build_constraint(HERMES, tools, ToolChoice("any")).whole(made) is not None
    assert time.process_time() - started < 0.3


@pytest.mark.parametrize(
    ("escape", "allowed"),
    [(r"\/", True), (r"\u0041", True), (r"\ud83d\ude00", True), (r"\ud800", False), (r"\x", False)],
)
def test_a_string_argument_may_have_every_escape_of_json_but_half_a_character(escape, allowed):
    pattern = llguidance.LLMatcher.grammar_from_lark(f"start: {JSON_STRING}")
    tokens = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokens, pattern)
    given = tokens.tokenize_bytes(f'"{escape}"'.encode())
    assert (matcher.validate_tokens(given) == len(given)) is allowed
