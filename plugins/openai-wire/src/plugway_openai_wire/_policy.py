"""What becomes of members of a Messages request on the way to either of OpenAI's APIs, declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from plugway_translation import Rule

CACHE: Final = Rule("drop", "the API has no marks for caching")
EXTRAS: Final = {"cache_control": CACHE.because, "citations": "the API takes none back"}
"""Members of blocks that are not carried over, and why."""
ONE_PROVIDER: Final = Rule("drop", "only Anthropic has it")

CACHE_KEY: Final = "a hash that stands for this conversation, so that its cached prefix is found"

OUTPUT: Final[Mapping[str, Rule]] = {
    "effort": Rule("translate"),
    "format": Rule("translate"),
    "task_budget": Rule("drop", "the API has no budget for a task"),
}
"""Members of `output_config`."""

TOOL: Final[Mapping[str, Rule]] = {
    "allowed_callers": Rule("drop", "tools are called by the model alone"),
    "cache_control": CACHE,
    "defer_loading": Rule("drop", "every tool is loaded"),
    "description": Rule("preserve"),
    "eager_input_streaming": Rule("drop", "arguments are streamed as they come anyway"),
    "input_examples": Rule("drop", "the API has no such field"),
    "input_schema": Rule("translate"),
    "name": Rule("translate"),
    "strict": Rule("translate"),
    "type": Rule("translate"),
}
"""Members of tools."""
