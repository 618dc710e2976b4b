"""Ollama, with the window that each model really has: Ollama cuts longer prompts in silence."""

from plugway_ollama._plugin import Ollama, OllamaOptions

__all__ = ["Ollama", "OllamaOptions"]
