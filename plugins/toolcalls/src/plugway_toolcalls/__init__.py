"""Tool calls as models write them: the format of each family, with parser, writer and grammar.

A library, not a plugin; pure Python. The engines that run inside Plugway and `tool-repair` share
it, so that one can parse what the other writes.
"""

from plugway_toolcalls._call_reader import BARE_HEAD, CallReader
from plugway_toolcalls._calls import Call, MalformedCall
from plugway_toolcalls._families import FAMILIES, CallFormat, Family, Header, Shape, detect_family
from plugway_toolcalls._lark import Lark
from plugway_toolcalls._loose import NotJson, load, read
from plugway_toolcalls._output import OutputParser, PendingCall
from plugway_toolcalls._parts import (
    CallArguments,
    CallEnd,
    CallError,
    CallStart,
    Part,
    TextDelta,
    ThinkingDelta,
    merged,
    to_events,
)
from plugway_toolcalls._python import BARE_CALL
from plugway_toolcalls._references import SchemaTooLarge, resolve
from plugway_toolcalls._rules import JSON_STYLE, NotWritable
from plugway_toolcalls._schema import any_object, prepare_schema
from plugway_toolcalls._spans import NOT_A_CALL
from plugway_toolcalls._tokens import Memory
from plugway_toolcalls._tools import Tool, dumps, kind_of, known_name, plain_name
from plugway_toolcalls._validate import check_arguments
from plugway_toolcalls._write import own_format, write_call

__all__ = [
    "BARE_CALL",
    "BARE_HEAD",
    "FAMILIES",
    "JSON_STYLE",
    "NOT_A_CALL",
    "Call",
    "CallArguments",
    "CallEnd",
    "CallError",
    "CallFormat",
    "CallReader",
    "CallStart",
    "Family",
    "Header",
    "Lark",
    "MalformedCall",
    "Memory",
    "NotJson",
    "NotWritable",
    "OutputParser",
    "Part",
    "PendingCall",
    "SchemaTooLarge",
    "Shape",
    "TextDelta",
    "ThinkingDelta",
    "Tool",
    "any_object",
    "check_arguments",
    "detect_family",
    "dumps",
    "kind_of",
    "known_name",
    "load",
    "merged",
    "own_format",
    "plain_name",
    "prepare_schema",
    "read",
    "resolve",
    "to_events",
    "write_call",
]
