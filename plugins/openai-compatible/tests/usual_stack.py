"""The plugins that a user has around a server of Chat Completions."""

from plugway.testing import build_plugin
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_openai_compatible import OpenAICompatible
from plugway_resilience import Resilience
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair


def stack(url, **options):
    """What a user has around such a server."""
    return [
        build_plugin(Thinking, "thinking"),
        build_plugin(Resilience, "resilience"),
        build_plugin(ErrorNormalizer, "error-normalizer"),
        build_plugin(ToolRepair, "tool-repair"),
        build_plugin(FieldPolicy, "field-policy"),
        build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1", **options),
    ]
