"""A chat of `google-genai` that calls its own functions. Arguments: `stream` or `whole`, and the
prompt."""

import os
import sys

from google import genai
from google.genai import types
from work import run_command, write_file

where = types.HttpOptions(base_url="http://127.0.0.1:8484")
client = genai.Client(api_key=os.environ["PLUGWAY_TOKEN"], http_options=where)

how, prompt = sys.argv[1:]
config = types.GenerateContentConfig(tools=[write_file, run_command])
chat = client.chats.create(model="anthropic/local/demo", config=config)
if how == "whole":
    print(chat.send_message(prompt).text)
else:
    print("".join(piece.text or "" for piece in chat.send_message_stream(prompt)))
