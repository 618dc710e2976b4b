"""Lets clients of Google's Gemini API use every backend: content, counts of tokens, the model list.

Requests are put into the Messages API, answers back into the client's own words.
"""

from plugway_gemini_api._plugin import GeminiApi, GeminiApiOptions

__all__ = ["GeminiApi", "GeminiApiOptions"]
