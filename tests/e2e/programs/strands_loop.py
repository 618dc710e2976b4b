"""An agent of Strands. Arguments: the API, and the prompt."""

import os
import sys

from strands import Agent, tool
from strands.models.anthropic import AnthropicModel
from strands.models.gemini import GeminiModel
from strands.models.openai import OpenAIModel
from strands.models.openai_responses import OpenAIResponsesModel
from work import run_command, write_file

url, key = "http://127.0.0.1:8484", os.environ["PLUGWAY_TOKEN"]
name = "anthropic/local/demo"
openai = {"base_url": f"{url}/v1", "api_key": key}
google = {"api_key": key, "http_options": {"base_url": url}}
chat = OpenAIModel(model_id=name, client_args=openai)
responses = OpenAIResponsesModel(model_id=name, client_args=openai)
gemini = GeminiModel(model_id=name, client_args=google)
anthropic = {"base_url": url, "auth_token": key}
messages = AnthropicModel(model_id=name, client_args=anthropic, max_tokens=4000)

api, prompt = sys.argv[1:]
model = {"chat": chat, "responses": responses, "messages": messages, "gemini": gemini}[api]
tools = [tool(write_file), tool(run_command)]
print(Agent(model=model, tools=tools, callback_handler=None)(prompt))
