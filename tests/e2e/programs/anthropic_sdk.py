"""A loop of the `anthropic` SDK. Arguments: `stream`, `whole` or `runner`, and the prompt."""

import os
import sys

from anthropic import Anthropic, beta_tool
from work import TOOLS, run_command, write_file

client = Anthropic(base_url="http://127.0.0.1:8484", auth_token=os.environ["PLUGWAY_TOKEN"])
MODEL = "anthropic/local/demo"
RUNNABLE = [beta_tool(write_file), beta_tool(run_command)]


def loop(prompt, streams):
    messages = [{"role": "user", "content": prompt}]
    asked = {"model": MODEL, "max_tokens": 4000, "messages": messages}
    asked["tools"] = [tool.to_dict() for tool in RUNNABLE]
    while True:
        if streams:
            with client.messages.stream(**asked) as stream:
                message = stream.get_final_message()
        else:
            message = client.messages.create(**asked)
        messages.append({"role": "assistant", "content": message.content})
        calls = [block for block in message.content if block.type == "tool_use"]
        if not calls:
            return message.content[-1].text
        results = [
            {"type": "tool_result", "tool_use_id": c.id, "content": TOOLS[c.name](**c.input)}
            for c in calls
        ]
        messages.append({"role": "user", "content": results})


def runner(prompt):
    messages = [{"role": "user", "content": prompt}]
    asked = {"model": MODEL, "max_tokens": 4000, "messages": messages}
    return client.beta.messages.tool_runner(**asked, tools=RUNNABLE).until_done().content[-1].text


how, prompt = sys.argv[1:]
print(runner(prompt) if how == "runner" else loop(prompt, how == "stream"))
