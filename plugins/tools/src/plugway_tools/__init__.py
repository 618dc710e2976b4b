"""Tools that the gateway runs; see the README."""

from plugway_tools._arguments import problems_of, schema_of
from plugway_tools._guard import ProxyLimits, guard_proxy
from plugway_tools._protocols import (
    Effect,
    HoldsTools,
    JudgesCalls,
    ToolCall,
    ToolResult,
    ToolSpec,
    Verdict,
    failed,
)
from plugway_tools._public import NotPublic, is_public, public_addresses
from plugway_tools._recorded import (
    JUDGED_CALLS,
    RUN_CALLS,
    JudgedCall,
    RunCall,
    record_judged,
    record_run,
)
from plugway_tools._text import MAX_CHARACTERS, harmless

__all__ = [
    "JUDGED_CALLS",
    "MAX_CHARACTERS",
    "RUN_CALLS",
    "Effect",
    "HoldsTools",
    "JudgedCall",
    "JudgesCalls",
    "NotPublic",
    "ProxyLimits",
    "RunCall",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "Verdict",
    "failed",
    "guard_proxy",
    "harmless",
    "is_public",
    "problems_of",
    "public_addresses",
    "record_judged",
    "record_run",
    "schema_of",
]
