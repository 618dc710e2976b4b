"""Any server with OpenAI's Chat Completions or Responses API as a backend."""

from plugway_openai_compatible._plugin import OpenAICompatible, OpenAICompatibleOptions
from plugway_openai_compatible._presets import Preset, presets

__all__ = ["OpenAICompatible", "OpenAICompatibleOptions", "Preset", "presets"]
