"""Google's Gemini API as a backend: translates requests, responses and streams.

Wire facts: https://ai.google.dev/api/generate-content and the guide pages named in the modules.
`plugway-upstream-errors` interprets errors; `plugway-capabilities` learns from them.
"""

from plugway_gemini._backend import GeminiBackend
from plugway_gemini._plugin import Gemini, GeminiOptions

__all__ = ["Gemini", "GeminiBackend", "GeminiOptions"]
