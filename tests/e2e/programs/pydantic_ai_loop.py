"""A loop of Pydantic AI. Arguments: the API, and the prompt."""

import asyncio
import os
import sys

from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from work import run_command, write_file

url, key = "http://127.0.0.1:8484", os.environ["PLUGWAY_TOKEN"]
name = "anthropic/local/demo"
openai = OpenAIProvider(base_url=f"{url}/v1", api_key=key)
chat = OpenAIChatModel(name, provider=openai)
responses = OpenAIResponsesModel(name, provider=openai)
messages = AnthropicModel(name, provider=AnthropicProvider(base_url=url, api_key=key))
gemini = GoogleModel(name, provider=GoogleProvider(base_url=url, api_key=key))


async def events(context, stream):
    """Makes the agent use streams."""
    async for _ in stream:
        pass


async def main(api, prompt):
    model = {"chat": chat, "responses": responses, "messages": messages, "gemini": gemini}[api]
    agent = Agent(model, tools=[write_file, run_command])
    return (await agent.run(prompt, event_stream_handler=events)).output


print(asyncio.run(main(*sys.argv[1:])))
