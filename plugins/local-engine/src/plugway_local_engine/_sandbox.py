"""The sandbox for untrusted chat templates: which operations they may use, and their limits.

See `_template` for the helpers that templates expect.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, cast

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_SOURCE: Final = 1 << 20
MAX_OUTPUT: Final = 8 << 20
MAX_SECONDS: Final = 2.0
MAX_RANGE: Final = 100_000
MAX_VALUES: Final = 500_000
_MAX_BITS: Final = 2048
_TICK: Final = "plugway_tick"
_GLUE: Final = "plugway_glue"
_PADDING: Final = {"ljust", "rjust", "center", "zfill", "expandtabs", "format_map"}
_REFUSED_FILTERS: Final = (
    "attr", "center", "filesizeformat", "format", "pprint", "random", "urlize", "wordwrap",
    "xmlattr", "batch", "slice",
)  # fmt: skip


class Generation(Extension):
    """`{% generation %}`, which marks replies in training templates: its body is kept unchanged."""

    tags = {"generation"}  # noqa: RUF012 -- the base class declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The body alone."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja without access to Python objects, and with limits on size and time.

    Operations that cannot be interrupted here, such as one long call into C, end with the process.
    """

    intercepted_binops = frozenset({"+", "*", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
            cache_size=0,
            extensions=[Generation, loopcontrols],
            finalize=weighed,
        )
        setattr(self, "concat", self._concat)  # noqa: B010 -- Jinja declares it as a constant
        # Jinja's types for both are too narrow; `_template` adds helpers to them.
        self.helpers: dict[str, Any] = getattr(self, "globals")  # noqa: B009
        self.kinds: dict[str, Callable[..., Any]] = getattr(self, "filters")  # noqa: B009
        for name in ("lipsum", "cycler", "joiner"):
            self.helpers.pop(name, None)
        for name in _REFUSED_FILTERS:
            self.kinds.pop(name, None)
        self.helpers |= {"range": bounded_range, _TICK: self.tick, _GLUE: self.glue}
        self.kinds["join"] = self._bounded_join(self.kinds["join"])
        self.kinds["replace"] = self._bounded_replace
        self.kinds["indent"] = self._bounded_indent(self.kinds["indent"])
        self.kinds["string"] = _bounded_string
        self._deadline = float("inf")
        self._made = 0

    def start_clock(self) -> None:
        """Start the time limit of a render, in CPU time of this thread: on a busy machine it takes
        longer."""
        self._deadline = time.thread_time() + MAX_SECONDS
        self._made = 0

    def compile_counted(self, source: str) -> Any:
        """Compile `source` so that every iteration of a loop checks the time limit."""
        tree = self.parse(source)
        for loop in tree.find_all((nodes.For, nodes.Macro)):
            loop.body.insert(0, nodes.ExprStmt(_call(_TICK, [], loop.lineno), lineno=loop.lineno))
        _replace_glue(tree)
        return self.from_string(tree)

    def tick(self) -> str:
        """Raise if the time limit has passed."""
        if time.thread_time() > self._deadline:
            raise SecurityError(f"it runs longer than {MAX_SECONDS:g} s")
        return ""

    def glue(self, *items: Any) -> str:
        """`a ~ b`, within the limit."""
        return self._concat(str(weighed(item)) for item in items)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """No private names, and no mutation except of lists, which are copies of the caller's."""
        if isinstance(obj, list) and attr in {"append", "pop"}:
            return True
        return not attr.startswith("_") and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`+`, `*`, `%` and `**`, if the result cannot become too large."""
        if operator == "**" or (operator == "%" and isinstance(left, str)):
            raise SecurityError(f"`{operator}` is not allowed in templates")
        if operator == "*":
            _check_product(left, right)
        return self._sized(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Any:
        """`str.format` without field widths, which may be of any size."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and ":" in str(value.__self__):
            raise SecurityError("`format` with a format specification is not allowed in templates")
        return wrapped

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call of a function, method or macro."""
        self.tick()
        owner, name = getattr(obj, "__self__", None), getattr(obj, "__name__", "")
        if isinstance(owner, str):
            if name in _PADDING:
                raise SecurityError(f"`{name}` is not allowed in templates")
            if name == "replace" and len(args) >= 2:
                return self._bounded_replace(owner, *args)
            if name == "join" and args:
                args = (list(args[0]),)
                _limited(sum(len(item) + len(owner) for item in args[0] if isinstance(item, str)))
        return self._sized(super().call(context, obj, *args, **kwargs))

    def _concat(self, items: Iterable[str]) -> str:
        pieces = list(items)
        _limited(sum(map(len, pieces)))
        return self._sized("".join(pieces))

    def _sized(self, value: Any) -> Any:
        if size := _length(value, otherwise=0):
            _limited(size)
            self._made += size
            # Creating temporary text costs time too; allow a thousand times the output limit.
            if self._made > MAX_OUTPUT * 1000:
                raise SecurityError("it builds too much text")
            self.tick()
        return value

    def _bounded_join(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def join(eval_context: Any, value: Any, d: str = "", attribute: Any = None) -> Any:
            items = list(value)
            if attribute is None:
                _limited(sum(len(str(weighed(item))) + len(str(d)) for item in items))
            return self._sized(original(eval_context, items, d, attribute))

        join.jinja_pass_arg = getattr(original, "jinja_pass_arg")  # type: ignore[attr-defined]  # noqa: B009
        return join

    def _bounded_indent(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def indent(
            value: str, width: int | str = 4, first: bool = False, blank: bool = False
        ) -> Any:
            step = width if isinstance(width, int) else len(width)
            _limited(len(value) + (value.count("\n") + 1) * step)
            return original(value, width, first, blank)

        return indent

    def _bounded_replace(self, value: Any, old: str, new: str, count: int | None = None) -> str:
        text = str(value)
        _limited(len(text) + text.count(str(old)) * len(str(new)))
        return self._sized(text.replace(str(old), str(new), -1 if count is None else count))


def bounded_range(*args: int) -> range:
    """`range` with a limited length."""
    numbers = range(*args)
    if len(numbers) > MAX_RANGE:
        raise SecurityError(f"a range has more than {MAX_RANGE} numbers")
    return numbers


def bounded_output(pieces: Iterator[str]) -> Iterator[str]:
    """The output, while it stays within its limit."""
    size = 0
    for piece in pieces:
        size += len(piece)
        _limited(size)
        yield piece


def _limited(size: int) -> None:
    if size > MAX_OUTPUT:
        raise SecurityError(f"its output exceeds {MAX_OUTPUT >> 20} MiB")


def weighed(value: Any) -> Any:
    """`value`, if its serialized form is finite: a list may contain another one many times."""
    stack: list[Any] = [value]
    seen = 0
    while stack:
        item = stack.pop()
        seen += 1
        if isinstance(item, dict):
            stack.extend(cast("dict[Any, Any]", item).values())
        elif isinstance(item, list | tuple):
            stack.extend(cast("Sequence[Any]", item))
        if seen + len(stack) > MAX_VALUES:
            raise SecurityError(f"a value has more than {MAX_VALUES} parts")
    return value


def _bounded_string(value: Any) -> str:
    return str(weighed(value))


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _MAX_BITS:
            raise SecurityError("a number becomes too large")
    else:
        _limited(_length(left) * _length(right) * _count(left) * _count(right))


def _count(value: Any) -> int:
    return abs(value) if isinstance(value, int) else 1


def _length(value: Any, otherwise: int = 1) -> int:
    if isinstance(value, str | list | tuple):
        return len(cast("Sequence[Any]", value))
    return otherwise


def _call(name: str, args: list[nodes.Expr], line: int) -> nodes.Call:
    function = nodes.Name(name, "load", lineno=line)
    return nodes.Call(function, args, [], None, None, lineno=line)


def _replace_glue(tree: nodes.Node) -> None:
    for parent in [tree, *tree.find_all(nodes.Node)]:
        for field, value in parent.iter_fields():
            if isinstance(value, nodes.Concat):
                setattr(parent, field, _call(_GLUE, value.nodes, value.lineno))
            elif isinstance(value, list):
                items = cast("list[Any]", value)
                items[:] = [_glued(item) for item in items]


def _glued(item: Any) -> Any:
    return _call(_GLUE, item.nodes, item.lineno) if isinstance(item, nodes.Concat) else item
