"""What every translation between the Messages API and another one needs: a library, not a plugin.

Pure functions and small values: identifiers and names, schemas, turns, media, thinking, usage, and
the notes in which a translator says what it could not carry over. Limits of models are asked for.
"""

from plugway_translation._arguments import arguments_of, parse_arguments
from plugway_translation._bytes_of_media import plain_base64, true_type
from plugway_translation._calls import FreshIds, ids_of_calls
from plugway_translation._escapes import end_of_escapes
from plugway_translation._fewer import fewer_tools
from plugway_translation._halves import Halves, may_have_halves, read_json
from plugway_translation._ids import IdCodec, decode_id, encode_id, safe_id
from plugway_translation._lengths import hashed, shortened
from plugway_translation._limits import OutputLimits
from plugway_translation._media import (
    COMMON_IMAGES,
    Media,
    MediaPolicy,
    fewer_images,
    media_of,
    replaced_media,
    unreadable,
    unseen,
)
from plugway_translation._names import PLACEHOLDER_LEFT_OUT, ToolNames, is_placeholder
from plugway_translation._notes import Action, Note, Notes, Rule, drop_by, note_extras, type_name
from plugway_translation._pairs import NO_RESULT, paired, paired_request
from plugway_translation._reasoning import Effort, Opened, Reasoning, clamp_effort, effort_of
from plugway_translation._remembered import remembered
from plugway_translation._repeated import joined_versions, last_meant, one_of_many
from plugway_translation._schema import (
    ANY_SCHEMA,
    SchemaRules,
    clean_schema,
    rules_without,
)
from plugway_translation._strict import closed_where_all_are_required, strict_fits
from plugway_translation._turns import GO_ON, SEPARATOR, Turn, is_blank, system_text, turns_of
from plugway_translation._usage import Totals, count, totals_of, usage_of, usage_told
from plugway_translation._words import (
    ATTRIBUTION,
    ERROR_MARK,
    blocks_of,
    in_words,
    is_attribution,
    reminder,
    result_media,
    result_text,
    said_in,
)

__all__ = [
    "ANY_SCHEMA",
    "ATTRIBUTION",
    "COMMON_IMAGES",
    "ERROR_MARK",
    "GO_ON",
    "NO_RESULT",
    "PLACEHOLDER_LEFT_OUT",
    "SEPARATOR",
    "Action",
    "Effort",
    "FreshIds",
    "Halves",
    "IdCodec",
    "Media",
    "MediaPolicy",
    "Note",
    "Notes",
    "Opened",
    "OutputLimits",
    "Reasoning",
    "Rule",
    "SchemaRules",
    "ToolNames",
    "Totals",
    "Turn",
    "arguments_of",
    "blocks_of",
    "clamp_effort",
    "clean_schema",
    "closed_where_all_are_required",
    "count",
    "decode_id",
    "drop_by",
    "effort_of",
    "encode_id",
    "end_of_escapes",
    "fewer_images",
    "fewer_tools",
    "hashed",
    "ids_of_calls",
    "in_words",
    "is_attribution",
    "is_blank",
    "is_placeholder",
    "joined_versions",
    "last_meant",
    "may_have_halves",
    "media_of",
    "note_extras",
    "one_of_many",
    "paired",
    "paired_request",
    "parse_arguments",
    "plain_base64",
    "read_json",
    "remembered",
    "reminder",
    "replaced_media",
    "result_media",
    "result_text",
    "rules_without",
    "safe_id",
    "said_in",
    "shortened",
    "strict_fits",
    "system_text",
    "totals_of",
    "true_type",
    "turns_of",
    "type_name",
    "unreadable",
    "unseen",
    "usage_of",
    "usage_told",
]
