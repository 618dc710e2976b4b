"""A loop of the `openai` SDK. Arguments: `chat` or `responses`, `stream` or `whole`, and the prompt."""

import json
import os
import sys

from openai import OpenAI
from work import TOOLS

client = OpenAI(base_url="http://127.0.0.1:8484/v1", api_key=os.environ["PLUGWAY_TOKEN"])
MODEL = "anthropic/local/demo"


def schema(*names):
    properties = {name: {"type": "string"} for name in names}
    closed = {"required": list(names), "additionalProperties": False}
    return {"type": "object", "properties": properties, **closed}


FUNCTIONS = [
    {"name": "write_file", "strict": True, "parameters": schema("path", "content")},
    {"name": "run_command", "strict": True, "parameters": schema("command")},
]


def run(name, arguments):
    return TOOLS[name](**json.loads(arguments))


def chat(prompt, streams):
    messages = [{"role": "user", "content": prompt}]
    asked = {"model": MODEL, "messages": messages}
    asked["tools"] = [{"type": "function", "function": function} for function in FUNCTIONS]
    while True:
        if streams:
            with client.chat.completions.stream(**asked) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(**asked).choices[0].message
        if not message.tool_calls:
            return message.content
        call = {"index": True, "function": {"parsed_arguments"}}
        unparsed = {"parsed": True, "tool_calls": {"__all__": call}}
        messages.append(message.model_dump(exclude=unparsed, exclude_none=True))
        for call in message.tool_calls:
            result = run(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def responses(prompt, streams):
    items = [{"role": "user", "content": prompt}]
    asked = {"model": MODEL, "input": items, "store": False}
    asked["include"] = ["reasoning.encrypted_content"]
    asked["tools"] = [{"type": "function", **function} for function in FUNCTIONS]
    while True:
        if streams:
            with client.responses.stream(**asked) as stream:
                response = stream.get_final_response()
        else:
            response = client.responses.create(**asked)
        items += response.output
        calls = [item for item in response.output if item.type == "function_call"]
        if not calls:
            return response.output_text
        for call in calls:
            result = run(call.name, call.arguments)
            answered = {"type": "function_call_output", "call_id": call.call_id, "output": result}
            items.append(answered)


api, how, prompt = sys.argv[1:]
print({"chat": chat, "responses": responses}[api](prompt, how == "stream"))
