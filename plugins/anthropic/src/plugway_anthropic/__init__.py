"""Anthropic's own API: relays requests and responses unchanged, with your key or the client's."""

from plugway_anthropic._plugin import Anthropic, AnthropicOptions

__all__ = ["Anthropic", "AnthropicOptions"]
