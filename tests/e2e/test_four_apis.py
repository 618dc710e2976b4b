"""One conversation of the real Claude Code is served by four APIs and returns to the first."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest
from gemini_answers import SIGNATURE as THOUGHT_SIGNATURE
from gemini_answers import answered, piece
from gemini_answers import call as gemini_call
from gemini_answers import text as gemini_text
from openai_answers import answer_of, message, reasoning, streamed
from openai_answers import call as response_call

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_gemini import Gemini
from plugway_openai import OpenAI
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_stream
from plugway_router import Router
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.real,
    pytest.mark.timeout(180),
    pytest.mark.lenient("chat.known_fields"),  # DeepSeek has fields that OpenAI does not
]
THOUGHT = reasoning("I write.", encrypted="gAAAA-what-was-thought")
"""The reasoning item that the Responses API must get back."""


class Maker:
    """Writes one file by a tool call in any API, then reports that."""

    def __init__(self, project, name):
        self.path = str(project / f"{name}.txt")
        self.name = name
        self.asked = []

    def said(self):
        return f"{self.name} is done."

    @property
    def input(self):
        return {"file_path": self.path, "content": self.name}

    def anthropic(self, request):
        if request.method == "GET" or not request.json.get("tools"):
            return respond(200, anthropic_message("A title"))
        self.asked.append(request.json)
        last = request.json["messages"][-1]["content"]
        results = [b for b in last if b["type"] == "tool_result"] if isinstance(last, list) else []
        if results:
            return self._fresh(anthropic_stream(self.said()))
        calls = [("Write", self.input)]
        return self._fresh(anthropic_stream("", thinking="First.", tool_calls=calls))

    def _fresh(self, events):
        """The events with unique ids: the client treats messages and calls with one id as one."""
        text = json.dumps(events).replace("_scripted", f"_{len(self.asked)}")
        text = text.replace("toolu_0001", f"toolu_{len(self.asked)}")
        return sse([(name, data) for name, data in json.loads(text)])

    def chat(self, request):
        if request.method == "GET" or not request.json.get("tools"):
            return respond(404)
        self.asked.append(request.json)
        if request.json["messages"][-1]["role"] == "tool":
            return sse(chat_stream(self.said()))
        arguments = json.dumps(self.input)
        return sse(chat_stream("", thinking="Second.", tool_calls=[("call_1", "Write", arguments)]))

    def responses(self, request):
        if request.method == "GET" or not request.json.get("tools"):
            return respond(404)
        self.asked.append(request.json)
        if request.json["input"][-1]["type"] == "function_call_output":
            return streamed(answer_of(message(self.said())))
        arguments = json.dumps(self.input)
        return streamed(answer_of(THOUGHT, response_call("Write", arguments, "call_9", "fc_9")))

    def gemini(self, request):
        if "enerateContent" not in request.path or not request.json.get("tools"):
            return respond(404)
        self.asked.append(request.json)
        if "functionResponse" in json.dumps(request.json["contents"][-1]):
            return answered(request, piece(gemini_text(self.said()), finish="STOP"))
        made = gemini_call("Write", self.input, "fc.1")
        made["thoughtSignature"] = THOUGHT_SIGNATURE
        return answered(request, piece(made, finish="STOP"))


def stack(urls):
    return [
        *(plugin for plugin in shipped() if not isinstance(plugin, Router)),
        build_plugin(Router, "router", models={"*": ["first/m"]}),
        build_plugin(Anthropic, "first", base_url=urls["anthropic"], api_key="k"),
        build_plugin(
            OpenAICompatible, "second", base_url=urls["chat"], zone="b", preset="deepseek"
        ),
        build_plugin(OpenAI, "third", base_url=urls["responses"], api_key="k"),
        build_plugin(Gemini, "fourth", base_url=urls["gemini"], api_key="k"),
    ]


async def test_a_conversation_visits_four_apis_and_returns(tmp_path):
    project = tmp_path / "project"
    makers = {name: Maker(project, name) for name in ("anthropic", "chat", "responses", "gemini")}
    async with AsyncExitStack() as opened:
        urls = {}
        for name, maker in makers.items():
            answer = getattr(maker, name)
            urls[name] = (await opened.enter_async_context(ScriptedUpstream(otherwise=answer))).url
        running = await opened.enter_async_context(gateway(stack(urls)))
        claude = Claude(tmp_path, running.url, running.token, "anthropic/first/m")
        way = ("first/m", "second/m", "third/gpt-5", "fourth/gemini-3-pro", "first/m")
        for number, target in enumerate(way):
            words = ["-p", f"turn {number}", "--permission-mode", "acceptEdits"]
            words += ["--model", f"anthropic/{target}", *(["--continue"] if number else [])]
            done = await claude.run(*words)
            name = list(makers)[number % 4]
            assert done.code == 0, done.out + done.err
            assert makers[name].said() in done.out
            assert (project / f"{name}.txt").read_text() == name
    _came_back_whole(makers["anthropic"].asked[-1]["messages"])
    _returned_to(makers)


def _came_back_whole(messages):
    """Every call of the four makers has its result, and the first one's thinking is unchanged."""
    blocks = [b for m in messages if isinstance(m["content"], list) for b in m["content"]]
    calls = [b["id"] for b in blocks if b["type"] == "tool_use"]
    results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
    assert len(calls) == 5
    assert calls == results
    assert not any(b.get("is_error") for b in blocks)
    thinking = [b for b in blocks if b["type"] == "thinking"]
    signed = anthropic_message("", thinking="First.")["content"][0]
    assert thinking
    assert all(b == signed for b in thinking)
    said = "".join(b["text"] for b in blocks if b["type"] == "text")
    assert all(f"{name} is done." in said for name in ("chat", "responses", "gemini"))


def _returned_to(makers):
    """Each maker gets back, within its own turn, the reasoning that it needs to continue."""
    chat = makers["chat"].asked[1]["messages"]
    assert [m["reasoning_content"] for m in chat if m.get("reasoning_content")] == ["Second."]
    items = makers["responses"].asked[1]["input"]
    assert [item for item in items if item["type"] == "reasoning"] == [THOUGHT]
    parts = [p for c in makers["gemini"].asked[1]["contents"] for p in c["parts"]]
    signatures = [p.get("thoughtSignature") for p in parts if "functionCall" in p]
    assert signatures[-1] == THOUGHT_SIGNATURE
