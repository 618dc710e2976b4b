"""Endpoints that can serve a conversation, their names, and the choice of each conversation.

Shared by `switch`, `recommend` and `mcp`. Nothing here sends a request.
"""

from plugway_endpoints._cache import ExplainsCache
from plugway_endpoints._choices import AGENTS, MAX_CHOICES, Choice, Choices
from plugway_endpoints._health import TargetHealth, TellsHealth
from plugway_endpoints._message import message_of
from plugway_endpoints._names import Endpoint, Match, choices_text, close_to, endpoints_of, match
from plugway_endpoints._needs import Needs, needs_of
from plugway_endpoints._state import (
    CHOSEN,
    Advice,
    Advises,
    Conversations,
    KeepsConversations,
    Served,
    TellsCosts,
    choices_path,
    no_consent,
)
from plugway_endpoints._topics import KEPT_SECONDS, SharesTopics, Topic, topic_of
from plugway_endpoints._trials import OffersTrials, Trial
from plugway_endpoints._turn import (
    REPLAY_HEADER,
    GatewayLine,
    ReadsLines,
    Turn,
    is_formatted,
    is_typed,
    line_of,
    turn_of,
    typed_line,
)

__all__ = [
    "AGENTS",
    "CHOSEN",
    "KEPT_SECONDS",
    "MAX_CHOICES",
    "REPLAY_HEADER",
    "Advice",
    "Advises",
    "Choice",
    "Choices",
    "Conversations",
    "Endpoint",
    "ExplainsCache",
    "GatewayLine",
    "KeepsConversations",
    "Match",
    "Needs",
    "OffersTrials",
    "ReadsLines",
    "Served",
    "SharesTopics",
    "TargetHealth",
    "TellsCosts",
    "TellsHealth",
    "Topic",
    "Trial",
    "Turn",
    "choices_path",
    "choices_text",
    "close_to",
    "endpoints_of",
    "is_formatted",
    "is_typed",
    "line_of",
    "match",
    "message_of",
    "needs_of",
    "no_consent",
    "topic_of",
    "turn_of",
    "typed_line",
]
