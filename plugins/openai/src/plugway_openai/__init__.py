"""OpenAI's API: the Responses API by default, Chat Completions by option, with your key."""

from plugway_openai._plugin import OpenAI, OpenAIOptions

__all__ = ["OpenAI", "OpenAIOptions"]
