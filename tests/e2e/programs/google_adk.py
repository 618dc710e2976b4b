"""An agent of Google's ADK. Arguments: `stream` or `whole`, and the prompt."""

import asyncio
import os
import sys

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models import Gemini
from google.adk.runners import InMemoryRunner
from google.genai import types
from work import run_command, write_file

model = Gemini(model="anthropic/local/demo", base_url="http://127.0.0.1:8484")


async def main(how, prompt):
    agent = LlmAgent(name="worker", model=model, tools=[write_file, run_command])
    runner = InMemoryRunner(agent=agent, app_name="work")
    session = await runner.session_service.create_session(app_name="work", user_id="me")
    mode = StreamingMode.SSE if how == "stream" else StreamingMode.NONE
    message = types.Content(role="user", parts=[types.Part(text=prompt)])
    said = ""
    async for event in runner.run_async(
        user_id="me",
        session_id=session.id,
        new_message=message,
        run_config=RunConfig(streaming_mode=mode),
    ):
        if event.is_final_response() and event.content:
            said += "".join(part.text or "" for part in event.content.parts)
    return said


assert os.environ["GEMINI_API_KEY"]
print(asyncio.run(main(*sys.argv[1:])))
