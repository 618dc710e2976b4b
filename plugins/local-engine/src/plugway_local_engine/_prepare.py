"""Convert a request's bytes to a job: rendered, tokenized, checked against the window.

Runs in a separate thread, so that rendering a long prompt does not delay other requests' tokens.
"""

from __future__ import annotations

import logging
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np
import orjson

from plugway_local_engine._contract import Sampling
from plugway_local_engine._conversation import build_conversation, render_prompt
from plugway_local_engine._dialogue import Output, schema_of
from plugway_local_engine._grammar import build_constraint
from plugway_local_engine._job import Wishes
from plugway_local_engine._pieces import to_pieces
from plugway_local_engine._slots import Owner
from plugway_local_engine._template import ChatTemplate, TemplateError
from plugway_local_engine._tools import tool_choice_of, tools_of
from plugway_local_engine._worker import LoadFailed
from plugway_toolcalls import detect_family

if TYPE_CHECKING:
    from plugway_local_engine._contract import Tokens, Vocabulary
    from plugway_local_engine._conversation import Prompt
    from plugway_local_engine._frames import Frame
    from plugway_local_engine._job import Job
    from plugway_local_engine._mask import GrammarTokenizer
    from plugway_local_engine._pieces import Pictures, Pieces
    from plugway_local_engine._worker import Channel

J = TypeVar("J", bound="Job")
_log = logging.getLogger(__name__)

_USED: Final = frozenset(
    (
        *("model", "stream", "messages", "system", "tools", "tool_choice", "max_tokens"),
        *("stop_sequences", "temperature", "top_k", "top_p", "thinking", "output_config"),
        *("output_format", "chat_template_kwargs"),
    )
)
"""Fields that are used here, or have no effect that could be left out."""
_NOT_RENDERED: Final = frozenset(
    ("model", "stream", "max_tokens", "stop_sequences", "temperature", "top_k", "top_p", "metadata")
)
"""Fields that may change between counting a request and serving it: no template sees them."""
PLAIN_TEMPLATE: Final = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


class Refused(Exception):
    """The request cannot be served."""

    def __init__(self, message: str, *, status: int = 400, retry: bool | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as tokens."""

    prompt: Prompt
    tokens: Tokens
    boundaries: tuple[int, ...]
    media: tuple[tuple[int, Any], ...]
    """Parts of images, with the index of their first token."""
    prefill: str
    notes: tuple[str, ...]
    messages: tuple[int, ...]
    """Indices of tokens at which texts of messages end, in order."""


@dataclass(frozen=True, slots=True)
class Window:
    """The window of a model, and the sampling that its gateway is configured with."""

    tokens: int
    """Maximum tokens of one conversation."""
    seed: int | None = None
    temperature: float | None = None
    """Used instead of the client's, if it is set."""
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05


class Preparer(Generic[J]):
    """Creates jobs for the engine."""

    def __init__(
        self,
        channel: Channel,
        submit: Callable[[J], None],
        new_job: Callable[..., J],
        vocabulary: Vocabulary,
        window: Window,
        template: ChatTemplate,
        grammars: Callable[[Sequence[int]], GrammarTokenizer],
        images: Pictures | None = None,
    ) -> None:
        """`new_job` is called as `Job` is; `grammars` makes the tokenizer for grammars, given the
        tokens that end a turn."""
        self._channel = channel
        self._submit = submit
        self._new_job = new_job
        self._vocabulary = vocabulary
        self._window = window
        self._grammars = grammars
        self._images = images
        self._template = template
        self._family = detect_family(template.source)
        self._traits = template.traits
        self._queue: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._counted: tuple[object, Rendered] | None = None
        """What was counted last, until it is served: a long prompt takes a second to render."""
        stops = (self._single(text) for text in self._family.stops)
        self._ends = frozenset(vocabulary.ends) | {token for token in stops if token is not None}
        threading.Thread(target=self._run, name="prepare", daemon=True).start()

    def facts(self) -> dict[str, Any]:
        """Properties for the `ready` frame."""
        return {
            "family": self._family.name,
            "tools": self._traits.tools,
            "images": self._images is not None,
        }

    def take(self, frame: Frame) -> None:
        """Queue a request; called by the engine's loop."""
        self._queue.put(frame)

    @cached_property
    def tokenizer(self) -> GrammarTokenizer:
        """Created for the first grammar, because it takes a while for a large vocabulary."""
        return self._grammars(sorted(self._ends))

    def _run(self) -> None:
        while True:
            frame = self._queue.get()
            number = int(frame.header["id"])
            try:
                self._serve(number, frame)
            except Refused as error:
                self._refuse(number, str(error), error.status, error.retry, str(error))
            except TemplateError as error:
                # A template's error message may quote the conversation.
                record = "the chat template rejects the request"
                text = self._too_long(frame, error) or str(error)
                self._refuse(number, text, 400, False, record)
            except Exception as error:
                # This thread serves all requests: an error must not end the others.
                _log.exception("request %d cannot be prepared", number)
                self._refuse(number, type(error).__name__, 500, None)

    def _too_long(self, frame: Frame, error: TemplateError) -> str:
        """The overflow message, if rendering failed for a request whose messages alone are larger
        than the window. Of the rest, such as tools, a template may leave out anything."""
        if "SecurityError" not in str(error):
            return ""
        text = "".join(_strings(orjson.loads(frame.body).get("messages")))
        size, window = len(self._vocabulary.tokenize(text)), self._window.tokens
        return f"prompt is too long: {size} tokens > {window - 1} maximum" if size > window else ""

    def _refuse(
        self, number: int, message: str, status: int, retry: bool | None, record: str = ""
    ) -> None:
        error = {"message": message, "status": status, "retry": retry, "record": record}
        self._channel.send({"id": number, "end": True, "error": error})

    def _serve(self, number: int, frame: Frame) -> None:
        body: Any = orjson.loads(frame.body)
        if not isinstance(body, dict):
            raise Refused("the body must be a JSON object")
        caller = frame.header.get("caller") or ""
        same = caller, {key: value for key, value in body.items() if key not in _NOT_RENDERED}  # pyright: ignore
        counted, self._counted = self._counted, None
        if counted is not None and counted[0] == same:
            rendered = counted[1]
        else:
            rendered = self._render(body, caller)  # pyright: ignore[reportUnknownArgumentType]
        if frame.header["op"] == "count":
            if not rendered.media:  # which the images' own cache holds, within its limit
                self._counted = same, rendered
            self._channel.send({"id": number, "end": True, "count": len(rendered.tokens)})
        else:
            self._submit(self._job(number, frame.header, body, rendered))  # pyright: ignore[reportUnknownArgumentType]

    # Rendering

    def _render(self, body: Mapping[str, Any], caller: str) -> Rendered:
        marker = self._images.marker if self._images else ""
        conversation = build_conversation(
            body, family=self._family, traits=self._traits, image_marker=marker
        )
        thinking: Any = body.get("thinking")
        kind: Any = thinking.get("type") if isinstance(thinking, dict) else None  # pyright: ignore
        extra: dict[str, Any] = {"enable_thinking": kind in ("enabled", "adaptive")}
        wanted: Any = body.get("chat_template_kwargs")
        if isinstance(wanted, Mapping):
            # An extension of llama-server: variables of the chat template.
            extra.update({str(name): value for name, value in wanted.items()})  # pyright: ignore
        prompt = render_prompt(self._template, conversation, extra=extra)
        pieces = to_pieces(self._vocabulary, prompt.text, self._images, conversation.images, caller)
        tokens = pieces.tokens
        if len(tokens) and tokens[-1] < 0:
            raise Refused("the chat template ends with the image; it must add something after it")
        return Rendered(
            prompt,
            tokens,
            self._boundaries(prompt, pieces, tokens),
            tuple(pieces.media),
            conversation.prefill,
            (*conversation.notes, *prompt.notes, *pieces.notes),
            tuple(pieces.position(mark.offset) for mark in prompt.marks if mark.in_message),
        )

    def _boundaries(self, prompt: Prompt, pieces: Pieces, tokens: Tokens) -> tuple[int, ...]:
        """Token positions for checkpoints: the end of the part that all conversations share, the
        client's own cache marks, the last messages."""
        found: dict[str, list[int]] = {}
        for mark in prompt.marks:
            found.setdefault(mark.kind, []).append(mark.offset)
        offsets = [*found.get("cache_control", [])[-4:], *found.get("message", [])[-2:]]
        due = {pieces.position(offset) for offset in offsets}
        for end in map(pieces.position, found.get("end", [])):
            due.add(end)
            if end < len(tokens) and self._vocabulary.controls[tokens[end]]:
                turns = np.flatnonzero(tokens == tokens[end])
                due |= {int(turn) for turn in turns[1:2]}
        return tuple(sorted(due))

    def _single(self, text: str) -> int | None:
        tokens = self._vocabulary.tokenize(text)
        return int(tokens[0]) if len(tokens) == 1 else None

    # Jobs

    def _job(
        self, number: int, header: Mapping[str, Any], body: Mapping[str, Any], rendered: Rendered
    ) -> J:
        window, size = self._window.tokens, len(rendered.tokens)
        if size > window - 1:
            raise Refused(f"prompt is too long: {size} tokens > {window - 1} maximum")
        wishes = self._wishes(body, window)
        limit = min(wishes.max_tokens, window - size)
        tools, _ = tools_of(body)
        choice = tool_choice_of(body)
        constraint = build_constraint(self._family, tools, choice, schema=schema_of(body))
        notes = [*unused(body), *rendered.notes, *constraint.notes]
        if limit < wishes.max_tokens:
            notes.append(
                f"translate max_tokens: lowered from {wishes.max_tokens:,} to {limit:,}, the space "
                f"left in the window of {window:,}"
            )
        output = Output(
            self._family,
            () if choice.mode == "none" else tools,
            constraint,
            lambda: self.tokenizer,
            thinking=rendered.prompt.thinking,
            prefix=rendered.prefill,
            budget=_thinking_budget(body),
            tokens_of=lambda text: self._vocabulary.tokenize(text).tolist(),
        )
        return self._new_job(
            number,
            Owner(header.get("session"), header.get("agent"), header.get("caller") or ""),
            rendered.tokens,
            output,
            wishes,
            rendered.boundaries,
            self._ends,
            limit,
            limit < wishes.max_tokens,
            notes,
            media=rendered.media,
            messages=rendered.messages,
        )

    def _wishes(self, body: Mapping[str, Any], window: int) -> Wishes:
        settings = self._window
        temperature = _number(body, "temperature", 1.0, 0.0, 2.0)
        if settings.temperature is not None:
            temperature = settings.temperature
        sampling = Sampling(
            temperature=temperature,
            top_k=int(_number(body, "top_k", settings.top_k, 0, 1 << 30)),
            top_p=_number(body, "top_p", settings.top_p, 0.0, 1.0),
            min_p=settings.min_p,
            seed=secrets.randbits(32) if settings.seed is None else settings.seed,
        )
        most = int(_number(body, "max_tokens", window, 0, 1 << 40))
        return Wishes(most, _stops(body), sampling)


def _number(
    body: Mapping[str, Any], field: str, default: float, least: float, most: float
) -> float:
    value = body.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"`{field}` is not a number", retry=False)
    if not least <= value <= most:
        raise Refused(f"`{field}` is not between {least:g} and {most:g}", retry=False)
    return value


def unused(body: Mapping[str, Any]) -> list[str]:
    """A note for each field that the engine does not use."""
    config: Any = body.get("output_config")
    names = [name for name in body if name not in _USED]
    if isinstance(config, Mapping):
        names += [f"output_config.{key}" for key in config if key != "format"]  # pyright: ignore
    return [f"drop {name[:64]}: local models do not use it" for name in names]


def _thinking_budget(body: Mapping[str, Any]) -> int | None:
    thinking: Any = body.get("thinking")
    if not isinstance(thinking, Mapping) or thinking.get("type") != "enabled":  # pyright: ignore
        return None
    budget = _number(thinking, "budget_tokens", -1, 0, 1 << 40)  # pyright: ignore
    return None if budget < 0 else max(1, int(budget))


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    value: Any = body.get("stop_sequences")
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):  # pyright: ignore
        raise Refused("`stop_sequences` must be a list of strings", retry=False)
    return tuple(value)  # pyright: ignore


def _strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value.values() if isinstance(value, dict) else value:  # pyright: ignore
            yield from _strings(part)


def _read_template(path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LoadFailed(f"`template`: {path} cannot be read: {reason}") from None


def load_template(
    source: str | None, replacement: str | None, vocabulary: Vocabulary, where: str
) -> ChatTemplate:
    """The model's own template `source`, or the one in the file `replacement`.

    Raises:
        LoadFailed: it is invalid, or the file cannot be read; `where` names the model.
    """
    if replacement:
        source = _read_template(replacement)
    texts = {name: vocabulary.special(name) for name in ("bos", "eos")}
    pieces = {n: vocabulary.piece(t).decode("utf-8", "replace") for n, t in texts.items() if t >= 0}
    try:
        return ChatTemplate(
            source or PLAIN_TEMPLATE, bos=pieces.get("bos", ""), eos=pieces.get("eos", "")
        )
    except TemplateError as error:
        raise LoadFailed(f"{where}: its chat template is invalid: {error}") from None
