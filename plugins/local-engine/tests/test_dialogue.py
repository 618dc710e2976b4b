"""What of a reply's grammar comes to the receipt."""

import numpy as np

from plugway_local_engine import ToolChoice, build_constraint
from plugway_local_engine._dialogue import Output
from plugway_local_engine._mask import GrammarError
from plugway_toolcalls import FAMILIES, Tool

HERMES = next(family for family in FAMILIES if family.name == "hermes")
TOOLS = [Tool("Read", "", {"type": "object", "properties": {"path": {"type": "string"}}})]


class Vocabulary:
    """Makes a mask that gives up, or none at all."""

    special = {}  # noqa: RUF012

    def __init__(self, mask=None):
        self._mask = mask

    def split(self, text):
        return [text]

    def mask(self, grammar):
        if self._mask is None:
            raise GrammarError("too many states")
        return self._mask


class GivesUp:
    failure = "the lexer has too many states"
    stopped = False

    def apply(self, logits):
        return False

    def accept(self, token):
        return True


def notes_of(vocabulary):
    constraint = build_constraint(HERMES, TOOLS, ToolChoice("any"))
    output = Output(HERMES, TOOLS, constraint, lambda: vocabulary)
    if output.restricted:
        output.restrict(np.zeros(4, np.float32))
    return [text for kind, text in output.finish("hello") if kind == "note"]


def test_a_grammar_that_cannot_be_made_is_noted_with_the_tool():
    (note,) = notes_of(Vocabulary())
    assert note.startswith("the reply is not constrained: too many states")
    assert "`Read`" in note


def test_a_grammar_that_gives_up_in_the_middle_is_noted_with_the_tool():
    (note,) = notes_of(Vocabulary(GivesUp()))
    assert "too many states" in note
    assert "`Read`" in note
