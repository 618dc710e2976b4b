"""A small Python stand-in for `apple_fm_sdk` 0.2.1: what its classes do, without the C library.

Names, signatures and behaviour follow the SDK's own sources: `core.py`, `session.py`, `tool.py`,
`transcript.py`, `errors.py`. The slow test runs the same requests over Apple's own sources.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import types
from contextlib import suppress
from enum import IntEnum

import pytest

from plugway_apple_intelligence import _sdk


class Reason(IntEnum):
    APPLE_INTELLIGENCE_NOT_ENABLED = 0
    DEVICE_NOT_ELIGIBLE = 1
    MODEL_NOT_READY = 2
    UNKNOWN = 0xFF


class Guardrails(IntEnum):
    DEFAULT = 0
    PERMISSIVE_CONTENT_TRANSFORMATIONS = 1


class FoundationModelsError(Exception):
    pass


class GenerationError(FoundationModelsError):
    pass


ERRORS = {
    name: type(name, (GenerationError,), {})
    for name in (
        "ExceededContextWindowSizeError",
        "AssetsUnavailableError",
        "GuardrailViolationError",
        "UnsupportedGuideError",
        "UnsupportedLanguageOrLocaleError",
        "DecodingFailureError",
        "RateLimitedError",
        "ConcurrentRequestsError",
        "RefusalError",
    )
} | {
    "InvalidGenerationSchemaError": type(
        "InvalidGenerationSchemaError", (FoundationModelsError,), {}
    )
}


class Content:
    def __init__(self, value):
        self.value = value

    def to_json(self):
        return json.dumps(self.value)


class Fake:
    """The state of the stand-in; tests script it, and read what a session got."""

    def __init__(self):
        self.unavailable: Reason | None = None
        self.window = 4096
        self.counts = True
        self.answers = ["Hello", " there", "."]
        self.calls: list[tuple[str, dict]] = []
        self.error: str | GenerationError | None = None
        self.error_after = 0
        self.generated: list[dict] = []
        self.gate = threading.Event()
        self.gate.set()
        self.sessions: list = []
        self.cancelled = 0
        self.running = 0
        self.most_running = 0

    def modules(self):
        """`apple_fm_sdk`, and the module of it that it does not re-export."""
        module = types.ModuleType("apple_fm_sdk")
        inner = types.ModuleType("apple_fm_sdk.generation_property")
        inner.Property = Property
        mine = {"fake": self}
        module.__dict__.update(
            SystemLanguageModel=type("SystemLanguageModel", (Model,), mine),
            SystemLanguageModelGuardrails=Guardrails,
            SystemLanguageModelUnavailableReason=Reason,
            GenerationSchema=Schema,
            GenerationGuide=Guide(),
            GenerationOptions=Options,
            LanguageModelSession=type("LanguageModelSession", (Session,), mine),
            Tool=Tool,
            Transcript=Transcript,
            FoundationModelsError=FoundationModelsError,
            **ERRORS,
        )
        return {"apple_fm_sdk": module, "apple_fm_sdk.generation_property": inner}


class Property:
    def __init__(self, name, type_class, description=None, guides=()):
        self.name, self.type_class = name, type_class
        self.description, self.guides = description, list(guides)


class Schema:
    def __init__(self, type_class, description=None, properties=None, dynamic_nested_types=()):
        self.type_class, self.description = type_class, description
        self.properties = properties or []
        self.dynamic_nested_types = list(dynamic_nested_types)


class Guide:
    def __getattr__(self, kind):
        return lambda value: (kind, value)


class Options:
    def __init__(self, sampling=None, temperature=None, maximum_response_tokens=None):
        if maximum_response_tokens is not None and maximum_response_tokens <= 0:
            raise ValueError("'maximum_response_tokens' must be positive")
        self.temperature = temperature
        self.maximum_response_tokens = maximum_response_tokens


class Transcript:
    def __init__(self, entries):
        self.entries = entries

    async def to_dict(self):
        kind = "FoundationModels.Transcript"
        return {"version": 1, "type": kind, "transcript": {"entries": list(self.entries)}}

    @classmethod
    async def from_dict(cls, found):
        assert found["type"] == "FoundationModels.Transcript"
        return cls(found["transcript"]["entries"])


class Model:
    fake: Fake

    def __init__(self, guardrails=Guardrails.DEFAULT):
        self.guardrails = guardrails
        self.context_size = self.fake.window

    def is_available(self):
        reason = self.fake.unavailable
        return (True, None) if reason is None else (False, reason)

    async def token_count(self, value=None):
        if not self.fake.counts:
            raise GenerationError("Generation error (status: 255)")
        text = json.dumps(value.entries) if isinstance(value, Transcript) else value
        return len(text.split())


class Tool:
    def __init__(self):
        assert isinstance(self.arguments_schema, Schema)
        assert isinstance(self.name, str)
        assert isinstance(self.description, str)


class Session:
    fake: Fake

    def __init__(self, instructions=None, model=None, tools=None, transcript=None):
        first = {"role": "instructions", "id": "0", "tools": [t.name for t in tools or ()]}
        first["contents"] = [{"type": "text", "id": "1", "text": instructions or ""}]
        self.transcript = transcript or Transcript([first])
        self.model, self.tools = model, tools or []
        self.prompts, self.options, self.schemas = [], [], []
        self.fake.sessions.append(self)

    @classmethod
    def from_transcript(cls, transcript, model=None, tools=None):
        return cls(None, model, tools, transcript)

    async def respond(self, prompt, *, json_schema=None, options=None):
        self._got(prompt, options, json_schema)
        fake = self.fake
        fake.running += 1
        fake.most_running = max(fake.most_running, fake.running)
        try:
            while not fake.gate.is_set():
                await asyncio.sleep(0.001)
            _fail(fake, 0)
            if json_schema is not None:
                return Content(fake.generated.pop(0))
            if self.tools and fake.calls:
                await self._call_tools()
            return "".join(fake.answers)
        except asyncio.CancelledError:
            fake.cancelled += 1
            raise
        finally:
            fake.running -= 1

    async def stream_response(self, prompt, options=None):
        self._got(prompt, options, None)
        said = ""
        for number, word in enumerate(self.fake.answers):
            self.fake.gate.wait(10)  # the SDK blocks the loop here, too
            _fail(self.fake, number)
            said += word
            yield said
        _fail(self.fake, len(self.fake.answers))

    def _got(self, prompt, options, schema):
        self.prompts.append(prompt)
        self.options.append(options)
        self.schemas.append(schema)

    async def _call_tools(self):
        """Each in a thread with a loop of its own, as `tool.py` does; its error is a result."""
        by_name = {tool.name: tool for tool in self.tools}
        for name, arguments in self.fake.calls:
            target = (by_name[name], arguments)
            threading.Thread(target=_call_tool, args=target, daemon=True).start()
        await asyncio.Event().wait()


def _call_tool(tool, arguments):
    with suppress(Exception):
        asyncio.run(tool.call(Content(arguments)))


def _fail(fake, number):
    if fake.error is not None and number >= fake.error_after:
        error = fake.error
        raise ERRORS[error](error) if isinstance(error, str) else error


@pytest.fixture
def fake(monkeypatch):
    """The stand-in on a Mac with macOS 26.4."""
    made = Fake()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(_sdk, "system", lambda: ("macOS", "26.4"))
    monkeypatch.setattr(_sdk, "find_spec", lambda name: object())
    return made
