"""Chat templates of Hugging Face models, rendered without trusting them.

See `_sandbox` for the sandbox, and `_conversation` for the input.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import cached_property
from typing import Any, NoReturn

from jinja2.exceptions import TemplateError as JinjaError

from plugway_local_engine._probe import TemplateTraits, probe
from plugway_local_engine._sandbox import MAX_SOURCE, Sandbox, bounded_output, weighed

Message = Mapping[str, Any]
Guard = Callable[[], AbstractContextManager[Any]]


class TemplateError(ValueError):
    """The template is invalid, or fails for the conversation; the message has the reason."""


class TemplateRefusal(TemplateError):
    """The template called `raise_exception`: it rejects this conversation only."""


class ChatTemplate:
    """One model's chat template."""

    def __init__(
        self,
        source: str,
        *,
        bos: str = "",
        eos: str = "",
        now: datetime | None = None,
        guard: Guard | None = None,
    ) -> None:
        """`now` is the time that the template sees, always the same so that prompts stay equal.

        Every render runs inside `guard()`, which can also stop a render that never returns.

        Raises:
            TemplateError: it is too long, or not a valid template.
        """
        if len(source.encode("utf-8", "replace")) > MAX_SOURCE:
            raise TemplateError(f"the chat template is longer than {MAX_SOURCE >> 20} MiB")
        self.source = source
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._now = now or datetime.now().astimezone()
        self._guard: Guard = guard or nullcontext
        self._sandbox = Sandbox()
        self._sandbox.helpers |= {"raise_exception": _refuse, "strftime_now": self._now.strftime}
        self._sandbox.kinds |= {"tojson": _tojson, "from_json": json.loads}
        try:
            with self._guard():
                self._template = self._sandbox.compile_counted(source)
        except (JinjaError, SyntaxError, RecursionError, ValueError) as error:
            raise TemplateError(f"the chat template is not valid: {_said(error)}") from None

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        add_generation_prompt: bool = True,
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt. `extra` contains more variables, such as `enable_thinking`.

        Raises:
            TemplateRefusal: the template rejects this conversation.
            TemplateError: the template fails, or exceeds a limit of time or size.
        """
        variables: dict[str, Any] = {**self._tokens, **(extra or {})}
        variables["add_generation_prompt"] = add_generation_prompt
        variables["messages"] = copy.deepcopy(list(messages))
        if tools:
            return self._render({**variables, "tools": copy.deepcopy(list(tools))})
        try:
            return self._render({**variables, "tools": None})
        except _NoTools:
            # Some templates loop over `tools` without checking that it is not None.
            return self._render({**variables, "tools": []})

    def _render(self, variables: dict[str, Any]) -> str:
        try:
            with self._guard():
                self._sandbox.start_clock()
                return "".join(bounded_output(self._template.generate(variables)))
        except _Refusal as refusal:
            raise TemplateRefusal(str(refusal)) from None
        except JinjaError as error:
            raise TemplateError(f"the chat template fails: {_said(error)}") from None
        except TypeError as error:
            raise _NoTools(f"the chat template fails: {_said(error)}") from None
        except (ArithmeticError, LookupError, ValueError, AttributeError) as error:
            raise TemplateError(f"the chat template fails: {_said(error)}") from None
        except (RecursionError, MemoryError) as error:
            raise TemplateError(f"the chat template is nested too deeply: {_said(error)}") from None

    @cached_property
    def traits(self) -> TemplateTraits:
        """The features of the template, found by rendering test conversations."""
        return probe(self._attempt)

    def _attempt(self, *args: Any, **kwargs: Any) -> str | None:
        try:
            return self.render(*args, **kwargs)
        except TemplateError:
            return None


class _NoTools(TemplateError):
    """The template fails, perhaps only because `tools` is `None`."""


class _Refusal(Exception):
    """Raised by `raise_exception` inside a template."""


def _refuse(message: object = "") -> NoReturn:
    raise _Refusal(str(message)[:500])


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as `transformers` writes it: no HTML escapes, non-ASCII characters unchanged."""
    if indent is not None and not 0 <= indent <= 16:
        raise ValueError("`indent` is too large")
    return json.dumps(
        weighed(value),
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"
