"""A loop with instructor, each step of which is an object. Arguments: the mode, and the prompt."""

import os
import sys
from typing import Literal

import instructor
from openai import OpenAI
from pydantic import BaseModel
from work import run_command, write_file

openai = OpenAI(base_url="http://127.0.0.1:8484/v1", api_key=os.environ["PLUGWAY_TOKEN"])


class Step(BaseModel):
    """What to do next."""

    what: Literal["write", "run", "say"]
    path: str = ""
    content: str = ""
    command: str = ""
    words: str = ""


mode, prompt = sys.argv[1:]
client = instructor.from_openai(openai, mode=instructor.Mode[mode])
messages = [{"role": "user", "content": prompt}]
asked = {"model": "anthropic/local/demo", "response_model": Step, "messages": messages}
while True:
    step, completion = client.chat.completions.create_with_completion(**asked)
    if step.what == "say":
        break
    message = completion.choices[0].message
    result = (
        write_file(step.path, step.content) if step.what == "write" else run_command(step.command)
    )
    answered = [
        {"role": "tool", "tool_call_id": c.id, "content": result} for c in message.tool_calls
    ]
    messages += [message.model_dump(exclude_none=True), *answered]
print(step.words)
