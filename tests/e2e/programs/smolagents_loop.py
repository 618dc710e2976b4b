"""A loop of smolagents. Arguments: `stream` or `whole`, and the prompt."""

import os
import sys

from smolagents import OpenAIModel, ToolCallingAgent, tool
from work import run_command, write_file

key = os.environ["PLUGWAY_TOKEN"]
model = OpenAIModel("anthropic/local/demo", api_base="http://127.0.0.1:8484/v1", api_key=key)

how, prompt = sys.argv[1:]
tools = [tool(write_file), tool(run_command)]
agent = ToolCallingAgent(tools=tools, model=model, stream_outputs=how == "stream")
print(agent.run(prompt))
