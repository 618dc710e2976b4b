"""Walk the syntax tree of a shell command and collect its simple commands in source order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from tree_sitter import Node

from plugway_auto_mode._words import (
    Assignment,
    Command,
    Part,
    Redirect,
    Word,
    plain_word,
    unquote,
)  # fmt: skip

_GROUPS = frozenset((
    "program", "list", "compound_statement", "do_group", "if_statement", "elif_clause",
    "else_clause", "while_statement", "negated_command",
))  # fmt: skip
_REDIRECTS = frozenset(("file_redirect", "herestring_redirect", "heredoc_redirect"))
_SUBSTITUTIONS = frozenset(("command_substitution", "process_substitution"))
_MOVES = frozenset(("cd", "pushd", "popd", "chdir"))
_OPERATORS = frozenset(("==", "=~", "=", "$", "!=", "!", "<", ">", "(", ")", "&&", "||", "]", "]]"))
_PLAIN = re.compile(r"(?:[^\s;&|<>()`$\"'\\]|\\[^\n]|\$(?![\w({'\"@*#?$!-]))+\Z")
_LITERAL = re.compile(r"(?s)(?:[^\\`$]|\\.|\$(?![\w({@*#?$!\[-]))*\Z")
_ESCAPE = re.compile(r"\\([$`\"\\\n])")
_DELIMITER = re.compile(r"(\w+)|'(\w+)'|\"(\w+)\"|\\(\w+)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ANSI_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ANSI = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_EXPANSION = re.compile(r"\$\{(\w+)((?::?-|##?|%%?|//?|\^\^?|,,?)[^$`(<>\\{}\"']*)?\}")
"""Operators of a variable that only cut or replace text."""


class Walk:
    """Collects the commands; its state is the current position in the script."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.commands: list[Command] = []
        self.functions: list[str] = []
        self.unclear = ""
        self._moved = -1
        self._piped: tuple[int, int] | None = None
        self._stdin: Word | None = None
        self._loops: dict[str, tuple[Word, ...]] = {}
        self.loop_names: set[str] = set()
        self.set_names: set[str] = set()
        self._handlers: dict[str, Callable[[Node], None]] = {
            "command": self._command, "declaration_command": self._command,
            "unset_command": self._command, "test_command": self._test,
            "variable_assignment": self._lone, "variable_assignments": self._lone,
            "subshell": self._subshell, "pipeline": self._pipeline,
            "redirected_statement": self._redirected, "for_statement": self._for,
            "case_statement": self._case, "function_definition": self._function,
            "file_redirect": self._lone, "herestring_redirect": self._lone,
        }  # fmt: skip

    def statements(self, node: Node) -> None:
        """Collect every statement at or below `node`, without recursion over lists."""
        stack = [node]
        while stack:
            found = stack.pop()
            kind = found.type
            if kind in _GROUPS:
                if found.child_count and found.children[0].type == "((":
                    self._unknown(found, "arithmetic")
                else:
                    stack.extend(reversed(found.children))
            elif kind in self._handlers:
                self._handlers[kind](found)
            elif found.is_named and kind != "comment":
                self._unknown(found, f"a construct ({kind.replace('_', ' ')})")

    def _text(self, node: Node) -> str:
        return self._slice(node.start_byte, node.end_byte)

    def _slice(self, start: int, end: int) -> str:
        return self.data[start:end].decode("utf-8", "replace")

    def _doubt(self, what: str) -> None:
        self.unclear = self.unclear or what

    def _unknown(self, node: Node, what: str) -> None:
        """Collect the commands inside an unknown construct."""
        self._doubt(f"{what} that is not supported here")
        stack = list(reversed(node.children))
        while stack:
            child = stack.pop()
            if child.type in _SUBSTITUTIONS:
                self._inside(child)
            elif child.type in self._handlers or child.type in _GROUPS:
                self.statements(child)
            elif child.type in _REDIRECTS:
                self._add(child, (), (), self._redirect(child))
            else:
                stack.extend(reversed(child.children))

    def _inside(self, node: Node) -> tuple[int, int]:
        """Collect a substitution or subshell; it does not change the outer folder."""
        start, moved = len(self.commands), self._moved
        for child in node.children:
            self.statements(child)
        self._moved = moved
        return start, len(self.commands)

    def _add(
        self,
        node: Node,
        words: Iterable[Word],
        assignments: Iterable[Assignment] = (),
        redirects: Iterable[Redirect] = (),
    ) -> None:
        redirects = tuple(redirects)
        own = next((one.target for one in reversed(redirects) if one.operator[:2] == "<<"), None)
        command = Command(
            tuple(words), self._text(node), tuple(assignments), redirects,
            self._piped, own or self._stdin, self._moved,
        )  # fmt: skip
        self.commands.append(command)
        if any(word.text in _MOVES for word in command.words[:3]):
            self._moved = len(self.commands) - 1

    # statements

    def _command(self, node: Node, more: tuple[list[Word], list[Redirect]] | None = None) -> None:
        words: list[Word] = []
        assignments: list[Assignment] = []
        redirects: list[Redirect] = []
        declares = node.type != "command"
        for child in node.children:
            if child.type == "variable_assignment":
                assignments += self._assigned(child)
                if declares or words:
                    words.append(Word(self._text(child), (Part("unclear"),)))
            elif child.type in _REDIRECTS:
                redirects += self._redirect(child)
            elif child.type == "command_name":
                words.append(self._word(child.children[0]))
            else:
                words.append(self._word(child))
        if more is not None:
            words += more[0]
            redirects += more[1]
        self._add(node, words, assignments, redirects)

    def _lone(self, node: Node) -> None:
        """Assignments or redirects without a command."""
        if node.type in _REDIRECTS:
            self._add(node, (), (), self._redirect(node))
            return
        single = node.type == "variable_assignment"
        children = [node] if single else node.named_children
        self._add(node, (), [one for child in children for one in self._assigned(child)])

    def _assigned(self, node: Node) -> list[Assignment]:
        name, *rest = node.children
        if not _NAME.fullmatch(self._text(name)):
            self._unknown(name, "an assignment to part of an array")
        self.set_names.add(self._text(name))
        value = rest[1] if len(rest) > 1 else None
        word = self._word(value) if value is not None else plain_word("")
        return [Assignment(self._text(name), word)]

    def _test(self, node: Node) -> None:
        words: list[Word] = []
        stack = list(reversed(node.children))
        while stack:
            child = stack.pop()
            if child.type in ("unary_expression", "binary_expression", "parenthesized_expression"):
                stack.extend(reversed(child.children))
            else:
                words.append(self._word(child))
        self._add(node, words)

    def _subshell(self, node: Node) -> None:
        self._inside(node)

    def _pipeline(self, node: Node) -> None:
        start, moved, piped = len(self.commands), self._moved, self._piped
        self._pipe(node, start)
        self._moved, self._piped = moved, piped

    def _pipe(self, node: Node, start: int) -> None:
        for child in node.children:
            if child.type in ("|", "|&"):
                self._piped = (start, len(self.commands))
            else:
                self.statements(child)

    def _redirected(self, node: Node) -> None:
        body = next((one for one in node.children if one.type not in _REDIRECTS), None)
        redirects: list[Redirect] = []
        arguments: list[Word] = []
        later: list[Node] = []
        for child in node.children:
            if child.type == "heredoc_redirect":
                redirects += self._heredoc(child, arguments, later)
            elif child.type in _REDIRECTS:
                redirects += self._redirect(child)
        start = len(self.commands)
        if body is not None and body.type == "command":
            self._command(body, (arguments, redirects))
        else:
            self._group(node, body, redirects)
        piped, moved = self._piped, self._moved
        for child in later:
            if child.type == "pipeline":
                self._pipe(child, start)
                self._piped, self._moved = piped, moved
            else:
                self.statements(child)

    def _group(self, node: Node, body: Node | None, redirects: list[Redirect]) -> None:
        self._add(node, (), (), redirects)
        stdin = self._stdin
        own = next((one.target for one in reversed(redirects) if one.operator[:2] == "<<"), None)
        self._stdin = own or stdin
        if body is not None:
            self.statements(body)
        self._stdin = stdin

    def _for(self, node: Node) -> None:
        name = next((self._text(one) for one in node.children if one.type == "variable_name"), "")
        values: list[Word] = []
        body: list[Node] = []
        for child in node.children:
            if child.type in ("do_group", "compound_statement"):
                body.append(child)
            elif child.is_named and child.type not in ("variable_name", "comment"):
                values.append(self._word(child))
        outer = self._loops
        if name in outer or node.children[0].type != "for" or not values:
            self._doubt("a loop with unknown values")
        self.loop_names.add(name)
        self._add(node.children[0], (), [Assignment(name, value) for value in values])
        self._loops = {**outer, name: tuple(values)}
        for child in body:
            self.statements(child)
        self._loops = outer

    def _case(self, node: Node) -> None:
        for child in node.children:
            if child.type == "case_item":
                self._case_item(child)
            elif child.is_named and child.type != "comment":
                self._add(child, (), [Assignment("", self._word(child))])

    def _case_item(self, node: Node) -> None:
        in_patterns = True
        for child in node.children:
            if child.type == ")" and in_patterns:
                in_patterns = False
            elif not in_patterns:
                self.statements(child)
            elif child.is_named:
                self._word(child)

    def _function(self, node: Node) -> None:
        words = [one for one in node.children if one.type == "word"]
        self.functions += [self._text(one) for one in words]
        self._doubt("a function definition, whose calls are not followed")
        for child in node.children:
            if child.type not in ("word", "function", "(", ")"):
                self.statements(child)

    # redirects

    def _redirect(self, node: Node) -> list[Redirect]:
        """One redirection; the grammar may attach further words of the command to it."""
        descriptor, operator, targets = "", "", list[Word]()
        for child in node.children:
            if child.type == "file_descriptor":
                descriptor = self._text(child)
            elif not child.is_named and not operator:
                operator = child.type
            else:
                targets.append(self._word(child))
        if len(targets) != 1:
            self._doubt("a redirection with more than one target")
        return [Redirect(operator, target, descriptor) for target in targets]

    def _heredoc(self, node: Node, arguments: list[Word], later: list[Node]) -> list[Redirect]:
        redirects: list[Redirect] = []
        by_type = {child.type: child for child in node.children}
        for child in node.children:
            if child.type == "file_redirect":
                redirects += self._redirect(child)
            elif child.type in ("heredoc_start", "heredoc_body", "heredoc_end", "comment"):
                continue
            elif child.type in self._handlers or child.type in _GROUPS:
                later.append(child)
            elif child.is_named and child.type != "file_descriptor":
                arguments.append(self._word(child))
        start, body, end = (by_type.get("heredoc_" + one) for one in ("start", "body", "end"))
        if start is None or end is None or not self._ends_there(start, end, "<<-" in by_type):
            self._doubt("a here-document with an uncertain end")
        if body is None:
            return [*redirects, Redirect("<<", plain_word(""))]
        if start is not None and self._text(start)[0] in "'\"\\":
            text = plain_word(self._text(body))
        else:
            text = self._expanded(body, body.start_byte, body.end_byte)
        return [*redirects, Redirect("<<", text)]

    def _ends_there(self, start: Node, end: Node, strips_tabs: bool) -> bool:
        """Whether the first line that equals the delimiter is the end that the parser found."""
        found = _DELIMITER.fullmatch(self._text(start))
        line_end = self.data.find(b"\n", start.end_byte)
        if found is None or line_end < 0 or b"<<" in self.data[start.end_byte : line_end]:
            return False
        delimiter = (found[1] or found[2] or found[3] or found[4]).encode()
        after = self.data.find(b"\n", end.start_byte)
        lines = self.data[line_end + 1 : after if after >= 0 else None].split(b"\n")
        if strips_tabs:
            lines = [line.lstrip(b"\t") for line in lines]
        return lines.index(delimiter) == len(lines) - 1 if delimiter in lines else False

    # words

    def _word(self, node: Node) -> Word:
        return Word(self._text(node), tuple(self._parts(node)))

    def _parts(self, node: Node) -> list[Part]:
        kind = node.type
        if kind == "concatenation":
            return [part for child in node.children for part in self._parts(child)]
        if kind == "raw_string":
            return [Part("quoted", self._text(node)[1:-1])]
        if kind == "string":
            return self._quoted(node)
        if kind == "ansi_c_string":
            return [self._ansi(self._text(node)[2:-1])]
        if kind in ("simple_expansion", "expansion"):
            return [self._variable(node)]
        if kind in _SUBSTITUTIONS:
            return [Part("commands", kind, self._inside(node))]
        if kind == "arithmetic_expansion":
            return [self._arithmetic(node)]
        return self._bare(node)

    def _bare(self, node: Node) -> list[Part]:
        text = self._text(node)
        if not node.child_count and (_PLAIN.match(text) or text in _OPERATORS):
            return list(unquote(text)) if text[0] != "#" else [Part("unclear")]
        if node.type == "brace_expression":
            return [Part("plain", text)]
        if node.child_count:
            self._unknown(node, f"a word ({node.type.replace('_', ' ')})")
        return [Part("unclear", text)]

    def _quoted(self, node: Node) -> list[Part]:
        return list(self._expanded(node, node.start_byte + 1, node.end_byte - 1).parts)

    def _expanded(self, node: Node, start: int, end: int) -> Word:
        """The text from `start` to `end`, split at expansions."""
        parts: list[Part] = []
        at = start
        for child in node.children:
            if child.type in ("string_content", "heredoc_content") or not child.is_named:
                continue
            if child.start_byte > at:
                parts.append(self._literal(self._slice(at, child.start_byte)))
            parts += self._parts(child)
            at = child.end_byte
        if at < end or not parts:
            parts.append(self._literal(self._slice(at, end)))
        return Word(self._slice(start, end), tuple(parts))

    def _literal(self, text: str) -> Part:
        if not _LITERAL.match(text):
            return Part("unclear", text)
        return Part("quoted", _ESCAPE.sub(lambda found: found[1].strip("\n"), text))

    def _ansi(self, text: str) -> Part:
        if any(found[1] not in _ANSI for found in _ANSI_ESCAPE.finditer(text)):
            return Part("unclear", text)
        return Part("ansi", _ANSI_ESCAPE.sub(lambda found: _ANSI[found[1]], text))

    def _variable(self, node: Node) -> Part:
        """`$name` and `${name}`, with the operators that only cut or replace text."""
        text = self._text(node)
        found = _EXPANSION.fullmatch(text)
        if node.type == "expansion" and found is None:
            self._unknown(node, "a variable")
            return Part("unclear", text)
        name = found[1] if found is not None else text[1:]
        values = self._loops.get(name) if found is None or not found[2] else None
        return Part("loop", name, values=values) if values else Part("variable", name)

    def _arithmetic(self, node: Node) -> Part:
        if re.fullmatch(r"\$\(\([\d\s+*/%-]*\)\)", self._text(node)):
            return Part("variable", "")
        self._unknown(node, "arithmetic")
        return Part("unclear")
