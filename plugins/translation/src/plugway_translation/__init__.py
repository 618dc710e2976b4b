"""Shared parts of translations between the Messages API and other APIs: a library, not a plugin.

Pure functions and small values: ids and names, schemas, turns, media, thinking, usage, and notes on
what a translation could not express. Only `OutputLimits` does I/O: it queries backends.
"""

from plugway_translation._any_json import MakesJson, forces_json
from plugway_translation._arguments import arguments_of, parse_arguments
from plugway_translation._call_ids import FreshIds, ids_of_calls
from plugway_translation._escapes import end_of_escapes
from plugway_translation._ids import IdCodec, decode_id, encode_id, safe_id
from plugway_translation._lengths import hashed, shortened
from plugway_translation._limits import OutputLimits
from plugway_translation._media import (
    COMMON_IMAGES,
    Media,
    MediaPolicy,
    limit_images,
    media_of,
    media_placeholder,
    replaced_media,
    unreadable,
)
from plugway_translation._media_types import plain_base64, true_type
from plugway_translation._names import (
    PLACEHOLDER_LEFT_OUT,
    ToolNames,
    is_placeholder,
    safe_name,
    with_hash,
)
from plugway_translation._notes import Action, Note, Notes, Rule, drop_by, note_extras, type_name
from plugway_translation._own_results import (
    CALL_PREFIX,
    PREFIX,
    excerpt_field,
    excerpt_in,
    own_call_id,
)
from plugway_translation._pairs import NO_RESULT, paired, paired_request
from plugway_translation._reasoning import Effort, Opened, Reasoning, clamp_effort, effort_of
from plugway_translation._relayed import (
    NOT_TRANSLATED,
    RelayedTargets,
    is_translatable,
    loses_only,
    relays,
)
from plugway_translation._remembered import remembered
from plugway_translation._repeated import last_of_joined, last_version, split_versions
from plugway_translation._root import ANSWER, is_object, wrapped
from plugway_translation._schema import (
    ANY_SCHEMA,
    SchemaRules,
    clean_schema,
    rules_without,
)
from plugway_translation._slots import Piece, Slot, Slots
from plugway_translation._strict import close_strict_objects, strict_fits
from plugway_translation._surrogates import SurrogateJoiner, may_have_surrogates, read_json
from plugway_translation._text import (
    ATTRIBUTION,
    ERROR_MARK,
    block_text,
    blocks_of,
    is_attribution,
    readable_text,
    reminder,
    result_media,
    result_text,
)
from plugway_translation._tool_limit import limit_tools
from plugway_translation._turns import CONTINUE, SEPARATOR, Turn, is_blank, system_text, turns_of
from plugway_translation._usage import Totals, count, detailed_usage, totals_of, usage_of
from plugway_translation._versions import Arguments

__all__ = [
    "ANSWER",
    "ANY_SCHEMA",
    "ATTRIBUTION",
    "CALL_PREFIX",
    "COMMON_IMAGES",
    "CONTINUE",
    "ERROR_MARK",
    "NOT_TRANSLATED",
    "NO_RESULT",
    "PLACEHOLDER_LEFT_OUT",
    "PREFIX",
    "SEPARATOR",
    "Action",
    "Arguments",
    "Effort",
    "FreshIds",
    "IdCodec",
    "MakesJson",
    "Media",
    "MediaPolicy",
    "Note",
    "Notes",
    "Opened",
    "OutputLimits",
    "Piece",
    "Reasoning",
    "RelayedTargets",
    "Rule",
    "SchemaRules",
    "Slot",
    "Slots",
    "SurrogateJoiner",
    "ToolNames",
    "Totals",
    "Turn",
    "arguments_of",
    "block_text",
    "blocks_of",
    "clamp_effort",
    "clean_schema",
    "close_strict_objects",
    "count",
    "decode_id",
    "detailed_usage",
    "drop_by",
    "effort_of",
    "encode_id",
    "end_of_escapes",
    "excerpt_field",
    "excerpt_in",
    "forces_json",
    "hashed",
    "ids_of_calls",
    "is_attribution",
    "is_blank",
    "is_object",
    "is_placeholder",
    "is_translatable",
    "last_of_joined",
    "last_version",
    "limit_images",
    "limit_tools",
    "loses_only",
    "may_have_surrogates",
    "media_of",
    "media_placeholder",
    "note_extras",
    "own_call_id",
    "paired",
    "paired_request",
    "parse_arguments",
    "plain_base64",
    "read_json",
    "readable_text",
    "relays",
    "remembered",
    "reminder",
    "replaced_media",
    "result_media",
    "result_text",
    "rules_without",
    "safe_id",
    "safe_name",
    "shortened",
    "split_versions",
    "strict_fits",
    "system_text",
    "totals_of",
    "true_type",
    "turns_of",
    "type_name",
    "unreadable",
    "usage_of",
    "with_hash",
    "wrapped",
]
