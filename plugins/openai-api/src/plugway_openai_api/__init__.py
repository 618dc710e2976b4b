"""Serves OpenAI's API to clients, for every backend: Chat Completions, Responses, the model list.

Requests are translated to the Messages API and replies back to the client's API. A backend whose
server supports the client's API receives the client's bytes unchanged.
"""

from plugway_openai_api._plugin import OpenAIApi, OpenAIApiOptions

__all__ = ["OpenAIApi", "OpenAIApiOptions"]
