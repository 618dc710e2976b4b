"""Google's Gemini API as a backend: translates requests, answers and streams.

Wire facts: https://ai.google.dev/api/generate-content and the pages of the guide that the modules
name. What refusals mean is read by `plugway-upstream-errors`, what they teach by
`plugway-capabilities`.
"""

from plugway_gemini._backend import GeminiBackend
from plugway_gemini._plugin import Gemini, GeminiOptions

__all__ = ["Gemini", "GeminiBackend", "GeminiOptions"]
