"""Tools that the gateway runs; see the README."""

from plugway_tools._arguments import invalid_arguments, problems_of, run_with_arguments, schema_of
from plugway_tools._guard import ProxyLimits, guard_proxy
from plugway_tools._progress import (
    Judged,
    RunningTool,
    asking_since,
    own_usage,
    own_usages,
    record_verdict,
    running_tools,
    unquoted,
    verdicts_of,
)
from plugway_tools._protocols import (
    Effect,
    HoldsTools,
    JudgesCalls,
    ToolCall,
    ToolResult,
    ToolSpec,
    Verdict,
    failed,
    unknown_tool,
)
from plugway_tools._public import NotPublic, is_public, public_addresses
from plugway_tools._recorded import RUN_CALLS, RunCall, record_run
from plugway_tools._text import MAX_CHARACTERS, harmless

__all__ = [
    "MAX_CHARACTERS",
    "RUN_CALLS",
    "Effect",
    "HoldsTools",
    "Judged",
    "JudgesCalls",
    "NotPublic",
    "ProxyLimits",
    "RunCall",
    "RunningTool",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "Verdict",
    "asking_since",
    "failed",
    "guard_proxy",
    "harmless",
    "invalid_arguments",
    "is_public",
    "own_usage",
    "own_usages",
    "problems_of",
    "public_addresses",
    "record_run",
    "record_verdict",
    "run_with_arguments",
    "running_tools",
    "schema_of",
    "unknown_tool",
    "unquoted",
    "verdicts_of",
]
