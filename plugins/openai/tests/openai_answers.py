"""OpenAI's documented answers on a scripted upstream."""

from contextlib import asynccontextmanager

from responses_answers import call, message, reasoning, stream
from responses_answers import response as answer_of

from plugway.testing import ScriptedUpstream, respond, sse

__all__ = [
    "CHAT_STREAM",
    "MODELS",
    "answer_of",
    "answering",
    "call",
    "error",
    "message",
    "reasoning",
    "response",
    "scripted",
    "stream",
    "streamed",
]

MODELS = {
    "object": "list",
    "data": [
        {"id": name, "object": "model", "created": 1700000000, "owned_by": "openai"}
        for name in ("gpt-5", "gpt-4o", "o3", "text-embedding-3-large", "gpt-4o-realtime", "sora-2")
    ],
}
_CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}


def _chunk(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return ("message", {**_CHUNK, "choices": [choice], **more})


CHAT_STREAM = sse(
    [
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "Hello."}),
        _chunk({}, "stop"),
        (
            "message",
            {**_CHUNK, "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}},
        ),
        b"data: [DONE]\n\n",
    ]
)


def response(*items, **more):
    """An answer; "Hello." where no items are given."""
    return answer_of(*(items or (message("Hello."),)), **more)


def streamed(answer, **how):
    """The script that streams an answer."""
    return sse([(data["type"], data) for data in stream(answer)], **how)


def scripted(answer):
    """Answers a request with `answer`, streamed or whole as it wants it, and the list of models."""

    def reply(request):
        if request.method == "GET":
            return respond(200, MODELS)
        return streamed(answer) if request.json.get("stream") else respond(200, answer)

    return reply


@asynccontextmanager
async def answering(answer):
    async with ScriptedUpstream(otherwise=answer) as server:
        yield server


def error(status, message, code=None, type="invalid_request_error", param=None, headers=()):
    told = {"message": message, "type": type, "param": param, "code": code}
    return respond(status, {"error": told}, headers)
