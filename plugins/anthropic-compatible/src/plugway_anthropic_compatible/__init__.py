"""Any server with the Anthropic Messages API as a backend."""

from plugway_anthropic_compatible._plugin import AnthropicCompatible, AnthropicCompatibleOptions

__all__ = ["AnthropicCompatible", "AnthropicCompatibleOptions"]
