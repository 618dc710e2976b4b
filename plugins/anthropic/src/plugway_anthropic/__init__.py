"""Anthropic's own API: requests and answers pass byte for byte, with your key or the client's."""

from plugway_anthropic._plugin import Anthropic, AnthropicOptions

__all__ = ["Anthropic", "AnthropicOptions"]
