"""Serves Google's Gemini API to clients, for every backend: content, token counts, the model list.

Requests are translated to the Messages API and replies back to the client's API.
"""

from plugway_gemini_api._plugin import GeminiApi, GeminiApiOptions

__all__ = ["GeminiApi", "GeminiApiOptions"]
