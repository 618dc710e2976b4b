"""Any server that speaks the Anthropic Messages API, at any address."""

from plugway_anthropic_compatible._plugin import AnthropicCompatible, AnthropicCompatibleOptions

__all__ = ["AnthropicCompatible", "AnthropicCompatibleOptions"]
