"""The stack as shipped, in front of scripted upstreams."""

from __future__ import annotations

from plugway.testing import build_plugin
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_auto_mode import AutoMode
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_local_answers import LocalAnswers
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_server_tools import ServerTools
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair


def shipped(*urls, native=False, **resilience):
    """The plugins of the default configuration, and a backend for each address, in fallback
    order: Anthropic's own, or of another server that speaks its API. `resilience` has options of
    that plugin."""
    names = [f"up{number}" for number in range(len(urls))]
    return [
        build_plugin(AutoMode, "auto-mode"),
        build_plugin(LocalAnswers, "local-answers"),
        build_plugin(Thinking, "thinking"),
        build_plugin(Resilience, "resilience", **resilience),
        build_plugin(ErrorNormalizer, "error-normalizer"),
        build_plugin(ServerTools, "server-tools"),
        build_plugin(ToolRepair, "tool-repair"),
        build_plugin(ContextGuard, "context-guard"),
        build_plugin(FieldPolicy, "field-policy"),
        build_plugin(Router, "router", models={"*": [f"{name}/m" for name in names]}),
        *(
            build_plugin(Anthropic, name, api_key="k", base_url=url)
            if native
            else build_plugin(AnthropicCompatible, name, base_url=url, zone="vendor")
            for name, url in zip(names, urls, strict=True)
        ),
    ]
