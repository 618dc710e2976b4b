"""A server with a window and a vocabulary of its own, and a client that compacts."""

from __future__ import annotations

import base64
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from plugway.testing import Gateway, ReceivedRequest, anthropic_message, respond

_PIECES: Final = re.compile(
    r" ?(?P<word>[A-Za-z]+)|(?P<digit>\d)|(?P<blank>\s+)|(?P<wide>[\u0370-\U0010ffff])"
    r"|(?P<sign>[^\w\s]{1,3}|.)",
    re.DOTALL,
)
IMAGE: Final = 900
"""Tokens of an image."""


@lru_cache(maxsize=4000)
def tokens_of(text: str, thrift: float) -> int:
    """Tokens of a text: words by their syllables, digits one by one, a run of blanks as one.

    `thrift` is how a vocabulary differs from the mean in letters and wide characters.
    """
    total = 0.0
    for found in _PIECES.finditer(text):
        match found.lastgroup:
            case "word":
                capitals = sum(map(str.isupper, found["word"][1:]))
                total += max(1.0, len(found["word"]) / 5.5 + capitals * 0.8) * thrift
            case "wide":
                total += 0.75 * thrift
            case _:
                total += 1
    return round(total)


def _said(value: Any) -> str:
    """All that a chat template would write of a request's part; images are not text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(map(_said, value))
    if not isinstance(value, dict) or value.get("type") == "image":
        return ""
    return "\n".join(f"{key} {_said(inner) or json.dumps(inner)}" for key, inner in value.items())


Script = Sequence[Any]
Refuse = Callable[[int, int, int], Script]
"""Window, prompt and answer in tokens -> an answer."""


def _error(status: int, text: str) -> Script:
    return respond(status, {"type": "error", "error": {"type": "BadRequestError", "message": text}})


def vllm(window: int, prompt: int, answer: int) -> Script:
    """vLLM's words."""
    return _error(
        400,
        f"This model's maximum context length is {window} tokens. However, you requested "
        f"{prompt + answer} tokens ({prompt} in the messages, {answer} in the completion).",
    )


def limit_only(window: int, prompt: int, answer: int) -> Script:
    """DeepSeek's words."""
    return _error(400, f"This model's maximum context length is {window} tokens.")


def no_numbers(window: int, prompt: int, answer: int) -> Script:
    """Ollama's words."""
    return respond(400, {"error": "the input length exceeds the context length"})


def lm_studio(window: int, prompt: int, answer: int) -> Script:
    """LM Studio's words."""
    return respond(
        500,
        {
            "error": "The number of tokens to keep from the initial prompt is greater than the "
            f"context length (n_keep: {prompt}>= n_ctx: {window}). Try to load the model with a "
            "larger context length"
        },
    )


@dataclass
class Windowed:
    """A server that counts by its own vocabulary; without `refuse` it cuts silently."""

    window: int
    thrift: float = 1.0
    refuse: Refuse | None = None
    listed: int | None = None
    """The window that its list states; None for the real one, 0 for none."""
    vision: bool = True
    served: list[int] = field(default_factory=list[int])
    """Tokens of each prompt that was answered whole."""
    refused: int = 0
    cut: int = 0

    def __call__(self, request: ReceivedRequest) -> Script:
        """The answer to any request of a backend."""
        lists: Mapping[str, Callable[[], Any]] = {
            "/v1/models": self._vllm,
            "/api/v1/models": self._lm_studio,
            "/api/tags": lambda: {"models": [{"name": "m:latest", "model": "m:latest"}]},
            "/api/ps": lambda: {"models": [{"name": "m:latest", "context_length": self._states}]},
            "/api/show": self._ollama,
        }
        if request.path in lists:
            return respond(200, lists[request.path]())
        if request.path != "/v1/messages":
            return respond(404, {"error": "unknown path"})
        return self._message(request.json)

    @property
    def _states(self) -> int:
        return self.window if self.listed is None else self.listed

    def _vllm(self) -> Any:
        window = {"max_model_len": self._states} if self._states else {}
        return {"object": "list", "data": [{"id": "m", **window}]}

    def _lm_studio(self) -> Any:
        loaded = [{"config": {"context_length": self._states}}] if self._states else []
        able = {"vision": self.vision, "trained_for_tool_use": True}
        model = {"key": "m", "type": "llm", "capabilities": able, "loaded_instances": loaded}
        return {"models": [model]}

    def _ollama(self) -> Any:
        able = ["completion", "tools", *(["vision"] if self.vision else [])]
        info = {"general.architecture": "q", "q.context_length": 262_144}
        return {"capabilities": able, "model_info": info}

    def tokens(self, body: Mapping[str, Any]) -> int:
        """Tokens of a prompt."""
        parts = [*body.get("tools", []), *body["messages"]]
        images = json.dumps(body["messages"]).count('"type": "image"')
        return sum(tokens_of(_said(part), self.thrift) for part in parts) + images * IMAGE

    def _message(self, body: Any) -> Script:
        prompt, answer = self.tokens(body), body["max_tokens"]
        if self.refuse is None and prompt > self.window:
            self.cut += 1
            prompt = self.window // 2
        elif self.refuse is not None and prompt + answer > self.window:
            self.refused += 1
            return self.refuse(self.window, prompt, answer)
        else:
            self.served.append(prompt)
        usage = {"input_tokens": prompt, "output_tokens": 40}
        return respond(200, anthropic_message("A summary.", model="m", usage=usage))


_TOLD: Final = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum")


class Stuck(Exception):
    """A client could not go on."""


@dataclass
class Client:
    """One conversation as an agent keeps it: it compacts where a prompt is too long, and drops its
    oldest turns where that prompt is too long as well, as many tokens as the numbers are apart."""

    running: Gateway
    tools: list[Any] = field(default_factory=list[Any])
    turns: list[Any] = field(default_factory=list[Any])
    compactions: int = 0
    model: str = "m"

    async def says(self, content: Any) -> None:
        """One more turn of the user, and its answer. Raises `Stuck`."""
        self.turns.append({"role": "user", "content": content})
        if await self._ask(self.turns, 8000) is not None:
            await self._compact()
            if told := await self._ask(self.turns, 8000):
                raise Stuck(f"after compaction: {told}")
        self.turns.append({"role": "assistant", "content": "Yes."})

    async def _compact(self) -> None:
        """The conversation becomes its summary, and the last turn stays."""
        self.compactions += 1
        last = self.turns.pop()
        kept, told = list(self.turns), (0, 0)
        for _ in range(4):
            ask = {"role": "user", "content": "Write a summary of the conversation."}
            found = await self._ask([*kept, ask], 8000)
            if found is None:
                break
            told = found
            gap = (told[0] - told[1]) * 4
            while kept and gap > 0:
                gap -= sum(len(json.dumps(turn)) for turn in kept[:2])
                kept = kept[2:]
        else:
            raise Stuck(f"compaction: {told}")
        self.turns = [
            {"role": "user", "content": "The conversation so far: a summary."},
            {"role": "assistant", "content": "Yes."},
            last,
        ]

    async def _ask(self, turns: list[Any], answer: int) -> tuple[int, int] | None:
        """None for an answer, or the two numbers of the refusal."""
        body = {"model": self.model, "max_tokens": answer, "messages": turns, "tools": self.tools}
        response = await self.running.post(body)
        if response.status_code == 200:
            return None
        message = response.json()["error"]["message"]
        found = _TOLD.match(message)
        if response.status_code == 400 and found:
            return int(found[1]), int(found[2])
        if "exceed context limit" in message and answer > 1000:
            return await self._ask(turns, answer // 4)
        raise Stuck(f"{response.status_code} {message}")


def _tools(count: int) -> list[Any]:
    chance = random.Random(count)
    names = ("path", "pattern", "limit", "mode", "description")
    types = ("string", "integer", "boolean")
    return [
        {
            "name": f"mcp__server__tool_{number}",
            "description": "Searches the files of a project, and lists what it finds there. " * 4,
            "input_schema": {
                "type": "object",
                "properties": {
                    name: {"type": chance.choice(types), "description": f"What {name} says."}
                    for name in names
                },
                "required": ["path"],
            },
        }
        for number in range(count)
    ]


TOOLS: Final = _tools(40)
_CHANCE: Final = random.Random(7)
_IMAGE: Final = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
_PROSE: Final = "The gateway reads each request and decides which server answers it. "
_CODE: Final = "    def find(self, name: str) -> int | None:\n        return self.known.get(name)\n"
_ROW: Final = '{"id": %d, "name": "item", "done": false, "score": 0.25}, '
_ZH: Final = "程序需要知道每一段文字大约占用多少个标记,然后才能决定是否压缩对话。"
_RU: Final = "После исправления ошибки запустите тесты ещё раз. Файл не найден. "
_BYTES: Final = _CHANCE.randbytes(3300)

KINDS: Final[Mapping[str, Callable[[int], Any]]] = {
    "prose": lambda n: _PROSE * 90,
    "code": lambda n: _CODE * 90,
    "JSON": lambda n: "".join(_ROW % (n * 100 + i) for i in range(90)),
    "Chinese": lambda n: _ZH * 70,
    "Russian": lambda n: _RU * 70,
    "base64": lambda n: base64.b64encode(_BYTES).decode(),
    "numbers": lambda n: "\n".join(f"{n},{i},{i * 7919 % 100000}" for i in range(400)),
    "blanks": lambda n: "\n".join(" " * (i % 50) + "}" for i in range(900)),
    "images": lambda n: [{"type": "image", "source": _IMAGE}] * 3,
    "a mix": lambda n: list(KINDS.values())[n % 8](n),
}
"""Contents of the turn of a number, some 2,000 to 4,000 tokens each."""
