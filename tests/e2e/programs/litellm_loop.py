"""A loop of LiteLLM as a library. Arguments: the API, and the prompt."""

import json
import os
import sys

import litellm
from work import TOOLS

url, key = "http://127.0.0.1:8484", os.environ["PLUGWAY_TOKEN"]
name = "anthropic/local/demo"
chat = {"model": f"openai/{name}", "api_base": f"{url}/v1", "api_key": key}
messages = {"model": f"anthropic/{name}", "api_base": url, "api_key": key, "max_tokens": 4000}
gemini = {"model": f"gemini/{name}", "api_base": f"{url}/v1beta", "api_key": key}


def schema(*names):
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, "required": list(names)}


FUNCTIONS = [
    {"name": "write_file", "parameters": schema("path", "content")},
    {"name": "run_command", "parameters": schema("command")},
]

api, prompt = sys.argv[1:]
asked = {"chat": chat, "messages": messages, "gemini": gemini}[api]
asked = {**asked, "tools": [{"type": "function", "function": one} for one in FUNCTIONS]}
said = [{"role": "user", "content": prompt}]
while True:
    pieces = list(litellm.completion(messages=said, stream=True, **asked))
    message = litellm.stream_chunk_builder(pieces, messages=said).choices[0].message
    said.append(message.model_dump(exclude_none=True))
    if not message.tool_calls:
        break
    for call in message.tool_calls:
        result = TOOLS[call.function.name](**json.loads(call.function.arguments))
        said.append({"role": "tool", "tool_call_id": call.id, "content": result})
print(message.content)
