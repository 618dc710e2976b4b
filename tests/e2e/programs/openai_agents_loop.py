"""A loop of the OpenAI Agents SDK. Arguments: the API, `stream` or `whole`, and the prompt."""

import asyncio
import os
import sys

from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI
from work import run_command, write_file

name = "anthropic/local/demo"
client = AsyncOpenAI(base_url="http://127.0.0.1:8484/v1", api_key=os.environ["PLUGWAY_TOKEN"])
responses = OpenAIResponsesModel(model=name, openai_client=client)
chat = OpenAIChatCompletionsModel(model=name, openai_client=client)


async def main(api, how, prompt):
    model = {"chat": chat, "responses": responses}[api]
    tools = [function_tool(write_file), function_tool(run_command)]
    agent = Agent(name="Worker", instructions="Work.", model=model, tools=tools)
    if how == "whole":
        return (await Runner.run(agent, prompt)).final_output
    result = Runner.run_streamed(agent, prompt)
    async for _ in result.stream_events():
        pass
    return result.final_output


print(asyncio.run(main(*sys.argv[1:])))
