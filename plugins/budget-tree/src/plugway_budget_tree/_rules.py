"""Which limits hold for a request: what the user asked for, within what the operator allows."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final, Protocol, runtime_checkable

from plugway import Caller, InvalidRequest, MessagesRequest
from plugway_budget_tree._limits import InvalidLimits, Limits
from plugway_budget_tree._options import BudgetTreeOptions

HEADER: Final = "plugway-budget"


@runtime_checkable
class InGroups(Protocol):
    """A caller who belongs to groups."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Their names."""
        ...


def asked_in(request: MessagesRequest) -> Limits:
    """The limits in the header. Raises `InvalidRequest`."""
    text = request.header(HEADER)
    if text is None:
        return Limits()
    try:
        return Limits.parse(text.strip())
    except InvalidLimits as error:
        record = f"invalid header `{HEADER}`"
        raise InvalidRequest(f"{HEADER}: {error}", retry=False, record=record) from None


def limits_of(options: BudgetTreeOptions, caller: Caller, typed: Limits, sent: Limits) -> Limits:
    """The limits that hold: those that the user typed, otherwise those of the header, otherwise the
    default, within the hard ones. Limited callers cannot raise the default."""
    default = options.default.limits
    limits = typed.or_else(sent).or_else(default).within(*_hard(options, caller))
    return limits.within(default) if caller.limited else limits


def _hard(options: BudgetTreeOptions, caller: Caller) -> Iterator[Limits]:
    """The limits that nothing can exceed."""
    yield options.most.limits
    own = (one.limits for p, one in options.callers.items() if fnmatchcase(caller.name, p))
    yield next(own, Limits())
    groups = caller.groups if options.groups and isinstance(caller, InGroups) else ()
    for pattern, one in options.groups.items():
        if any(fnmatchcase(name, pattern) for name in groups):
            yield one.limits
