"""One model behind each kind of server: it says what a test wants, in the words of its API."""

import json

from gemini_answers import answered, piece
from gemini_answers import call as gemini_call
from gemini_answers import text as gemini_text
from openai_answers import answer_of, streamed
from openai_answers import call as response_call
from openai_answers import message as response_message

from plugway.testing import anthropic_message, anthropic_stream, build_plugin, respond, sse
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router
from plugway_server_tools import ServerTools
from plugway_tool_repair import ToolRepair
from plugway_vllm import Vllm


class Model:
    """Says one turn after the other, the last one for ever; a turn is a text and calls."""

    def __init__(self, *turns):
        self._turns = list(turns) or [("INVENTED", [])]
        self.asked = []
        """The bodies of the requests for an answer."""

    def __call__(self, request):
        inference = ("/messages", "/chat/completions", "/responses")
        if "enerateContent" not in request.path and not request.path.partition("?")[0].endswith(
            inference
        ):
            return respond(404, {"error": "not here"})
        body = request.json
        self.asked.append(body)
        turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        if not isinstance(turn, tuple):
            return turn
        if "contents" in body:
            return _gemini(request, *turn)
        if "input" in body:
            return _responses(body, *turn)
        if "/chat/" in request.path:
            return _chat(body, *turn, number=len(self.asked))
        return _messages(body, *turn, number=len(self.asked))

    def script(self, *turns):
        """Say these turns from now on."""
        self._turns = list(turns)

    def offered(self, at=0):
        """The names of the functions that request `at` offers."""
        found = []
        for tool in self.asked[at].get("tools", []):
            found += [d["name"] for d in tool.get("functionDeclarations", [])] or [
                tool.get("name") or tool.get("function", {}).get("name") or tool["type"]
            ]
        return found


def _messages(body, text, calls, number):
    if not body.get("stream"):
        made = json.dumps(anthropic_message(text, tool_calls=calls))
        return respond(200, json.loads(made.replace("toolu_0", f"toolu_{number}")))
    events = json.dumps(anthropic_stream(text, tool_calls=calls))
    events = json.loads(events.replace("toolu_0", f"toolu_{number}"))
    return sse([(name, data) for name, data in events])


def _chat(body, text, calls, number):
    from plugway_openai_wire.testing import chat_message, chat_stream

    made = [(f"call_{number}_{i}", n, json.dumps(a)) for i, (n, a) in enumerate(calls)]
    if body.get("stream"):
        return sse(chat_stream(text, tool_calls=made))
    return respond(200, chat_message(text, tool_calls=made))


def _responses(body, text, calls):
    items = [response_message(text)] if text else []
    items += [
        response_call(n, json.dumps(a), f"call_{i}", f"fc_{i}") for i, (n, a) in enumerate(calls)
    ]
    answer = answer_of(*items)
    return streamed(answer) if body.get("stream") else respond(200, answer)


def _gemini(request, text, calls):
    parts = [gemini_text(text)] if text else []
    parts += [gemini_call(n, a, f"fc.{i}") for i, (n, a) in enumerate(calls)]
    return answered(request, piece(*parts, finish="STOP"))


BACKENDS = {
    "anthropic-compatible": lambda url: build_plugin(
        AnthropicCompatible, "up", base_url=url, zone="vendor"
    ),
    "ollama": lambda url: build_plugin(Ollama, "up", base_url=url),
    "lmstudio": lambda url: build_plugin(LmStudio, "up", base_url=url),
    "vllm": lambda url: build_plugin(Vllm, "up", base_url=url),
    "llama-server": lambda url: build_plugin(LlamaServer, "up", base_url=url),
    "chat": lambda url: build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1", zone="vendor"),
    "openai-chat": lambda url: build_plugin(
        OpenAI, "up", base_url=f"{url}/v1", api_key="k", api="chat"
    ),
    "responses-without-search": lambda url: build_plugin(
        OpenAI, "up", base_url=f"{url}/v1", api_key="k", web_search=False
    ),
    "gemini": lambda url: build_plugin(Gemini, "up", base_url=url, api_key="k"),
}


def stack(backend, policy=None, **options):
    """What a user has around a backend; `policy` are options of `field-policy`."""
    return [
        build_plugin(ServerTools, "server-tools", **options),
        build_plugin(ToolRepair, "tool-repair"),
        build_plugin(FieldPolicy, "field-policy", **(policy or {})),
        build_plugin(Router, "router", models={"*": ["up/m"]}),
        backend,
    ]
