"""Lets clients of OpenAI's API use every backend: Chat Completions, Responses and the model list.

Requests are put into the Messages API, answers back into the client's own words; a backend whose
server speaks the client's API gets its bytes.
"""

from plugway_openai_api._plugin import OpenAIApi, OpenAIApiOptions

__all__ = ["OpenAIApi", "OpenAIApiOptions"]
