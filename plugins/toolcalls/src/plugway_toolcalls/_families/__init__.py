"""The known families of models, and how a chat template's family is detected."""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Header, Sample, Shape
from plugway_toolcalls._families.deepseek import DEEPSEEK, DEEPSEEK_V4, DEEPSEEK_V31, DEEPSEEK_V32
from plugway_toolcalls._families.gemma import FUNCTION_GEMMA, GEMMA, GEMMA4
from plugway_toolcalls._families.generic import GENERIC
from plugway_toolcalls._families.glm import GLM
from plugway_toolcalls._families.granite import GRANITE
from plugway_toolcalls._families.harmony import HARMONY
from plugway_toolcalls._families.hermes import HERMES
from plugway_toolcalls._families.kimi import KIMI
from plugway_toolcalls._families.llama import LLAMA
from plugway_toolcalls._families.minimax import MINIMAX
from plugway_toolcalls._families.mistral import MISTRAL, MISTRAL_V3
from plugway_toolcalls._families.nemotron import NEMOTRON
from plugway_toolcalls._families.qwen_coder import QWEN_CODER, SEED_OSS

__all__ = ["FAMILIES", "CallFormat", "Family", "Header", "Sample", "Shape", "detect_family"]

FAMILIES: tuple[Family, ...] = (
    DEEPSEEK_V4,
    DEEPSEEK_V32,
    DEEPSEEK,
    DEEPSEEK_V31,
    GLM,
    KIMI,
    MINIMAX,
    GEMMA4,
    FUNCTION_GEMMA,
    NEMOTRON,
    GRANITE,
    HARMONY,
    SEED_OSS,
    QWEN_CODER,
    HERMES,
    MISTRAL,
    MISTRAL_V3,
    LLAMA,
    GEMMA,
    GENERIC,
)
"""In the order in which they are tried: distinctive markers first, `generic` last."""


def detect_family(template: str) -> Family:
    """The family whose markers occur in the template's text, else `generic`."""
    for family in FAMILIES:
        if any(all(mark in template for mark in marks) for marks in family.detect):
            return family
    return GENERIC
