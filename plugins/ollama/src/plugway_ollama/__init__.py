"""Ollama, with the real window of each model: Ollama silently truncates longer prompts."""

from plugway_ollama._options import OllamaOptions
from plugway_ollama._plugin import Ollama

__all__ = ["Ollama", "OllamaOptions"]
