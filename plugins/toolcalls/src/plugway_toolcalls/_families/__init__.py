"""The known families of models, and how a chat template's family is detected."""

from __future__ import annotations

from plugway_toolcalls._families._base import CallFormat, Family, Header, Recipients, Sample, Shape
from plugway_toolcalls._families.apertus import APERTUS
from plugway_toolcalls._families.cohere import COHERE, COMMAND_R
from plugway_toolcalls._families.deepseek import DEEPSEEK, DEEPSEEK_V4, DEEPSEEK_V31, DEEPSEEK_V32
from plugway_toolcalls._families.gemma import FUNCTION_GEMMA, GEMMA, GEMMA4
from plugway_toolcalls._families.generic import GENERIC
from plugway_toolcalls._families.gigachat import GIGACHAT3, GIGACHAT31
from plugway_toolcalls._families.glm import GLM, GLM47
from plugway_toolcalls._families.granite import GRANITE
from plugway_toolcalls._families.harmony import HARMONY
from plugway_toolcalls._families.hermes import HERMES
from plugway_toolcalls._families.hunyuan import HUNYUAN
from plugway_toolcalls._families.kimi import KIMI, KIMI_K3
from plugway_toolcalls._families.lfm2 import LFM2
from plugway_toolcalls._families.llama import FUNCTIONARY, FUNCTIONARY32, LLAMA, LLAMA4
from plugway_toolcalls._families.longcat import LONGCAT
from plugway_toolcalls._families.minicpm import MINICPM
from plugway_toolcalls._families.minimax import MINIMAX, MINIMAX_M3
from plugway_toolcalls._families.mistral import MISTRAL, MISTRAL_V3
from plugway_toolcalls._families.muse import MUSE
from plugway_toolcalls._families.nemotron import NEMOTRON
from plugway_toolcalls._families.olmo import OLMO
from plugway_toolcalls._families.phi import FUNCTOOLS, PHI
from plugway_toolcalls._families.qwen_coder import QWEN_CODER, SEED_OSS
from plugway_toolcalls._families.solar import SOLAR
from plugway_toolcalls._families.step import STEP3
from plugway_toolcalls._families.tool_calls import APRIEL, MINIMAX_M1

__all__ = [
    "FAMILIES",
    "CallFormat",
    "Family",
    "Header",
    "Recipients",
    "Sample",
    "Shape",
    "detect_family",
]

FAMILIES: tuple[Family, ...] = (
    DEEPSEEK_V4,
    DEEPSEEK_V32,
    DEEPSEEK,
    DEEPSEEK_V31,
    GLM47,
    GLM,
    KIMI,
    KIMI_K3,
    MINIMAX_M3,
    MINIMAX,
    HUNYUAN,
    LONGCAT,
    STEP3,
    GEMMA4,
    FUNCTION_GEMMA,
    NEMOTRON,
    GRANITE,
    SOLAR,
    HARMONY,
    MUSE,
    SEED_OSS,
    QWEN_CODER,
    MINICPM,
    LFM2,
    APERTUS,
    COHERE,
    COMMAND_R,
    GIGACHAT31,
    GIGACHAT3,
    FUNCTOOLS,
    PHI,
    OLMO,
    APRIEL,
    MINIMAX_M1,
    HERMES,
    MISTRAL,
    MISTRAL_V3,
    FUNCTIONARY,
    FUNCTIONARY32,
    LLAMA4,
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
