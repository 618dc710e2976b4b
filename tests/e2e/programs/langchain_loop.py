"""A loop of LangChain. Arguments: the API, `stream` or `whole`, and the prompt."""

import os
import sys

from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI
from work import run_command, write_file

url, key = "http://127.0.0.1:8484", os.environ["PLUGWAY_TOKEN"]
name = "anthropic/local/demo"
chat = ChatOpenAI(model=name, base_url=f"{url}/v1", api_key=key)
responses = ChatOpenAI(model=name, base_url=f"{url}/v1", api_key=key, use_responses_api=True)
messages = ChatAnthropic(model=name, base_url=url, api_key=key)
gemini = ChatGoogleGenerativeAI(model=name, base_url=url, api_key=key)

api, how, prompt = sys.argv[1:]
model = {"chat": chat, "responses": responses, "messages": messages, "gemini": gemini}[api]
agent = create_agent(model, tools=[write_file, run_command])
asked = {"messages": [{"role": "user", "content": prompt}]}
if how == "whole":
    print(agent.invoke(asked)["messages"][-1].text)
else:
    pieces = agent.stream(asked, stream_mode="messages")
    print("".join(piece.text for piece, _ in pieces if piece.type != "tool"))
