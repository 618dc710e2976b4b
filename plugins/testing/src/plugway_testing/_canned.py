"""Errors of real upstreams, as data.

Built from each vendor's documentation and public reports; nothing was recorded from a live service.
Normalizers match the messages, so they are quoted exactly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from plugway_testing._answers import Step, respond

_JSON: Final = (("content-type", "application/json"),)
_EVENTS: Final = (("content-type", "text/event-stream"),)


@dataclass(frozen=True)
class CannedAnswer:
    """A status, headers and a body for an upstream's response.

    >>> ScriptedUpstream(ERRORS["ollama.model_not_found"].script())
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def script(self) -> list[Step]:
        """Return the steps that send it."""
        return respond(self.status, self.body, self.headers)


def _answer(status: int, content: object, **headers: str) -> CannedAnswer:
    extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return CannedAnswer(status, _JSON + extra, json.dumps(content, ensure_ascii=False).encode())


def _in_stream(event: str | None, data: object) -> CannedAnswer:
    name = f"event: {event}\n" if event else ""
    return CannedAnswer(200, _EVENTS, f"{name}data: {json.dumps(data)}\n\n".encode())


def _anthropic(status: int, kind: str, message: str, **headers: str) -> CannedAnswer:
    error = {"type": kind, "message": message}
    body = {"type": "error", "error": error, "request_id": "req_scripted"}
    return _answer(status, body, request_id="req_scripted", **headers)


def _openai(status: int, message: str, kind: str, code: str | None, **headers: str) -> CannedAnswer:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return _answer(status, {"error": error}, **headers)


def _gemini(code: int, status: str, message: str, *details: object) -> CannedAnswer:
    error: dict[str, object] = {"code": code, "message": message, "status": status}
    return _answer(code, {"error": error | ({"details": list(details)} if details else {})})


def _vllm(status: int, kind: str, message: str) -> CannedAnswer:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return _answer(status, {"error": error})


def _llama_cpp(code: int, kind: str, message: str, **fields: int) -> CannedAnswer:
    return _answer(code, {"error": {"code": code, "message": message, "type": kind, **fields}})


def _openrouter(code: int, message: str, **metadata: str) -> CannedAnswer:
    error: dict[str, object] = {"message": message, "code": code}
    return _answer(code, {"error": error | ({"metadata": metadata} if metadata else {})})


_INVALID, _LIMIT = "invalid_request_error", "rate_limit_error"
_RETRY_INFO: Final = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}
_KEY_INFO: Final = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "API_KEY_INVALID",
}
_OPENAI_OVERFLOW: Final = (
    "This model's maximum context length is 128000 tokens. However, you requested 200016 tokens "
    "(196016 in the messages, 4000 in the completion). Please reduce the length of the messages "
    "or completion."
)
_VLLM_OVERFLOW: Final = (
    "This model's maximum context length is 32768 tokens. However, you requested 40096 tokens "
    "(36000 in the messages, 4096 in the completion). Please reduce the length of the messages "
    "or completion."
)
_GEMINI_OVERFLOW: Final = (
    "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
)
_LM_STUDIO_OVERFLOW: Final = (
    "The number of tokens to keep from the initial prompt is greater than the context length "
    "(n_keep: 13055>= n_ctx: 4096). Try to load the model with a larger context length, or "
    "provide a shorter input."
)
_OPENAI_WINDOW: Final = (
    "Your input exceeds the context window of this model. Please adjust your input and try again."
)

ERRORS: Final[Mapping[str, CannedAnswer]] = MappingProxyType({
    # Anthropic
    "anthropic.context_overflow": _anthropic(
        400, _INVALID, "prompt is too long: 210000 tokens > 200000 maximum"
    ),
    "anthropic.max_tokens_overflow": _anthropic(
        400, _INVALID,
        "input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000, decrease "
        "input length or `max_tokens` and try again",
    ),
    "anthropic.model_not_found": _anthropic(404, "not_found_error", "model: no-such-model"),
    "anthropic.overloaded": _anthropic(529, "overloaded_error", "Overloaded"),
    "anthropic.rate_limited": _anthropic(
        429, _LIMIT, "Number of request tokens has exceeded your per-minute rate limit",
        retry_after="20", anthropic_ratelimit_requests_remaining="0",
    ),
    "anthropic.quota": _answer(429, {
        "type": "error",
        "error": {
            "type": _LIMIT,
            "message": "You have reached your specified API usage limits.",
            "details": {"error_code": "spend_limit_reached"},
        },
        "request_id": "req_scripted",
    }, request_id="req_scripted"),
    "anthropic.unauthorized": _anthropic(401, "authentication_error", "invalid x-api-key"),
    "anthropic.forbidden": _anthropic(
        403, "permission_error", "Your API key does not have permission to use this resource."
    ),
    # OpenAI, Chat Completions and Responses
    "openai.context_overflow": _openai(400, _OPENAI_OVERFLOW, _INVALID, "context_length_exceeded"),
    "openai.context_overflow_without_numbers": _openai(
        400, _OPENAI_WINDOW, _INVALID, "context_length_exceeded"
    ),
    "openai.context_overflow_in_stream": _in_stream("response.failed", {
        "type": "response.failed",
        "response": {
            "status": "failed",
            "error": {"code": "context_length_exceeded", "message": _OPENAI_WINDOW},
        },
    }),
    "openai.model_not_found": _openai(
        404, "The model `no-such-model` does not exist or you do not have access to it.",
        _INVALID, "model_not_found",
    ),
    "openai.overloaded": _openai(
        503, "The server is currently overloaded with other requests.", "server_error", None
    ),
    "openai.rate_limited": _openai(
        429, "Rate limit reached for requests", "requests", "rate_limit_exceeded", retry_after="20"
    ),
    "openai.quota": _openai(
        429, "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota", "insufficient_quota",
    ),
    "openai.unauthorized": _openai(
        401, "Incorrect API key provided: sk-no***key.", _INVALID, "invalid_api_key"
    ),
    "openai.unsupported_parameter": _openai(
        400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.", _INVALID, "unsupported_parameter",
    ),
    "openai.max_tokens_too_large": _openai(
        400, "max_tokens is too large: 32000. This model supports at most 16384 completion tokens.",
        _INVALID, "invalid_value",
    ),
    # Gemini: the body may be an array, and a bad key is a 400
    "gemini.context_overflow": _gemini(400, "INVALID_ARGUMENT", _GEMINI_OVERFLOW),
    "gemini.context_overflow_in_array": _answer(400, [
        {"error": {"code": 400, "message": _GEMINI_OVERFLOW, "status": "INVALID_ARGUMENT"}}
    ]),
    "gemini.model_not_found": _gemini(
        404, "NOT_FOUND", "models/no-such-model is not found for API version v1beta."
    ),
    "gemini.overloaded": _gemini(
        503, "UNAVAILABLE", "The model is overloaded. Please try again later."
    ),
    "gemini.rate_limited": _gemini(
        429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", _RETRY_INFO
    ),
    "gemini.unauthorized": _gemini(
        400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", _KEY_INFO
    ),
    # Ollama: usually truncates silently; only newer endpoints answer 400
    "ollama.context_overflow": _answer(
        400, {"error": "the input length exceeds the context length"}
    ),
    "ollama.model_not_found": _answer(404, {"error": "model 'no-such-model' not found"}),
    "ollama.overloaded": _answer(
        503, {"error": "server busy, please try again.  maximum pending requests exceeded"}
    ),
    # LM Studio: the error is a bare string
    "lmstudio.context_overflow": _answer(400, {"error": _LM_STUDIO_OVERFLOW}),
    "lmstudio.context_overflow_as_500": _answer(500, {"error": _LM_STUDIO_OVERFLOW}),
    "lmstudio.context_overflow_in_stream": _in_stream("error", {"error": _LM_STUDIO_OVERFLOW}),
    "lmstudio.no_model_loaded": _answer(
        400, {"error": "No models loaded. Please load a model in the developer page."}
    ),
    # llama.cpp server
    "llamacpp.context_overflow": _llama_cpp(
        400, "exceed_context_size_error",
        "request (13392 tokens) exceeds the available context size (8192 tokens), try increasing "
        "it",
        n_prompt_tokens=13392, n_ctx=8192,
    ),
    "llamacpp.loading": _llama_cpp(503, "unavailable_error", "Loading model"),
    "llamacpp.unauthorized": _llama_cpp(401, "authentication_error", "Invalid API Key"),
    "llamacpp.not_supported": _llama_cpp(
        501, "not_supported_error", "This server does not support completions."
    ),
    # vLLM
    "vllm.context_overflow": _vllm(400, "BadRequestError", _VLLM_OVERFLOW),
    "vllm.context_overflow_as_500": _vllm(500, "internal_error", _VLLM_OVERFLOW),
    "vllm.prompt_too_long": _vllm(
        400, "BadRequestError",
        "The prompt (total length 40096) is too long to fit into the model (context length 32768).",
    ),
    "vllm.model_not_found": _vllm(
        404, "NotFoundError", "The model `no-such-model` does not exist."
    ),
    "vllm.engine_dead": _vllm(500, "InternalServerError", "EngineCore encountered an issue."),
    # llama-cpp-python's server
    "llamacpppython.context_overflow": _openai(
        400, "This model's maximum context length is 2048 tokens. However, you requested 3000 "
        "tokens (2000 in the messages, 1000 in the completion). Please reduce the length of the "
        "messages or completion.", _INVALID, "context_length_exceeded",
    ),
    # OpenRouter: the original message is nested
    "openrouter.context_overflow": _openrouter(
        400, "Provider returned error", provider_name="Some Provider",
        raw=json.dumps({"error": {"message": _OPENAI_OVERFLOW, "code": "context_length_exceeded"}}),
    ),
    "openrouter.overloaded": _openrouter(
        502, "Provider returned error", provider_name="Some Provider", raw="upstream overloaded"
    ),
    "openrouter.quota": _openrouter(402, "Insufficient credits. Add more to continue."),
    "openrouter.error_in_stream": _in_stream(None, {
        "error": {"code": 502, "message": "Provider disconnected"},
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}],
    }),
    # GitHub Copilot, DeepSeek and Bedrock
    "copilot.context_overflow": _openai(
        400, "prompt token count of 140000 exceeds the limit of 128000", _INVALID,
        "model_max_prompt_tokens_exceeded",
    ),
    "deepseek.context_overflow": _openai(
        400, "This model's maximum context length is 65536 tokens.", _INVALID, None
    ),
    "deepseek.quota": _openai(402, "Insufficient Balance", "unknown_error", _INVALID),
    "bedrock.context_overflow": _answer(
        400, {"message": "Input is too long for requested model."},
        x_amzn_errortype="ValidationException",
    ),
    "bedrock.model_not_found": _answer(
        404, {"message": "Could not resolve the foundation model from the model identifier."},
        x_amzn_errortype="ResourceNotFoundException",
    ),
    "bedrock.rate_limited": _answer(
        429, {"message": "Too many requests, please wait before trying again."},
        x_amzn_errortype="ThrottlingException",
    ),
    # Not an API response
    "proxy.html": CannedAnswer(
        502, (("content-type", "text/html"),), b"<html><h1>502 Bad Gateway</h1></html>"
    ),
    "fastapi.detail": _answer(404, {"detail": "Not Found"}),
})  # fmt: skip
"""Errors by `"<upstream>.<condition>"`; equal conditions have equal names."""
