"""Check whether a program with its words is known to be harmful; the tables are in `rules.yaml`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Final

from plugway_auto_mode._calls import Call
from plugway_auto_mode._finding import Place
from plugway_auto_mode._paths import Moved, locate
from plugway_auto_mode._rules import Danger, dangers, known, name_pattern, readers, secrets
from plugway_auto_mode._words import Redirect, Word

_HERE: Final = re.compile(r"(?i)(?:https?://)?(?:localhost|127(?:\.\d+){1,3}|\[?::1\]?)(?:[:/]|$)")
_SENDS: Final = re.compile(
    r"--(?:data|json|form|upload-file|post-data|post-file|body-data|body-file)\b.*"
    r"|-(?:d|F|T).*|-[a-zA-Z]*[dFT]"
)
_METHODS: Final = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_FETCHERS: Final = frozenset(("curl", "wget", "http", "https", "xh", "aria2c"))
_LOOKUPS: Final = frozenset(("dig", "drill", "host", "nslookup", "ping", "ping6", "resolvectl"))
_GIT_CODE: Final = re.compile(
    r"(?i)(?:core\.(?:pager|editor|sshcommand|hookspath|fsmonitor|askpass|gitproxy)|alias\.|pager\."
    r"|credential\.|filter\.|diff\.\w+\.|url\.|protocol\.|sequence\.|gpg\.program|http\.proxy)"
)
_OPEN_MODE: Final = re.compile(
    r"0?[2467][0-7]{3}|0?[0-7]{2}[2367]|(?:\w*[ao]\w*|)\+\w*w\w*|\w*[+=]\w*s\w*"
)
_OVERWRITES: Final = (">", ">>", ">|", "&>", "&>>", ">&", "<>")
_SHOWERS: Final = frozenset((".", "bat", "less", "more", "open", "source"))
_ENVIRONMENT: Final = re.compile(r"(?:^|[^.\w\"])(?:env|\$ENV|\$__prog_args)\b")


def danger(call: Call, place: Place, moved: Moved) -> str:
    """Why a call is harmful; empty if it is not known to be."""
    if call.obscured:
        return call.obscured
    words = _git_words(call) if call.program == "git" else call.words
    return (
        _in_table(call.program, words)
        or _git(call, words)
        or _network(call)
        or _writes(call, place, moved)
        or _permissions(call, place, moved)
        or _reads_secrets(call)
    )


def redirect_danger(redirect: Redirect, place: Place, moved: Moved) -> str:
    """Why a redirection is harmful; empty if it is not known to be."""
    target = redirect.target
    if redirect.operator not in ("<", *_OVERWRITES) or re.fullmatch(r"\d+-?|-", target.text):
        return ""
    if target.text.startswith(("/dev/tcp/", "/dev/udp/")):
        return "opens a connection to another machine"
    if secrets().find(target) == "anywhere":
        return "reads or writes credentials"
    if redirect.operator == "<":
        return "reads a file with secrets" if secrets().find(target) else ""
    where = locate(target.text, place, moved)
    if where in ("outside", "git"):
        return f"writes outside the project: `{shown(target.text)}`"
    return ""


def shown(text: str, most: int = 120) -> str:
    """Text of a call for use in a reason: one line, no control characters, no backticks."""
    plain = "".join(c if c.isprintable() and c != "`" else "?" for c in text[: most + 1])
    return plain if len(text) <= most else plain[:most] + "..."


# ── tables ───────────────────────────────────────────────────────────────────────────────────


def _in_table(program: str, words: Sequence[str]) -> str:
    for one, rule in _candidates(program):
        if tuple(words[: len(one)]) == one and _applies(rule, words[len(one) :], bare=not words):
            return f"{rule.because}: `{shown(' '.join([program, *one]))}`"
    return ""


def _candidates(program: str) -> Iterator[tuple[tuple[str, ...], Danger]]:
    table = dangers()
    yield from table.get(program, ())
    if "." in program:
        for name, rules in table.items():
            if "*" in name and fnmatchcase(program, name):
                yield from rules


def _applies(rule: Danger, rest: Sequence[str], *, bare: bool) -> bool:
    if any(_has(word, rest) for word in rule.unless):
        return False
    if rule.bare:
        return bare
    return not rule.having or any(_has(word, rest) for word in rule.having)


def _has(wanted: str, rest: Sequence[str]) -> bool:
    if "*" in wanted:
        return any(fnmatchcase(word.casefold(), wanted.casefold()) for word in rest)
    if wanted in rest:
        return True
    if re.fullmatch(r"-[A-Za-z]", wanted):
        return any(re.fullmatch(r"-[A-Za-z]+", word) and wanted[1] in word for word in rest)
    return any(word.casefold() == wanted for word in rest) if "." in wanted else False


# ── git ──────────────────────────────────────────────────────────────────────────────────────


def _git_words(call: Call) -> tuple[str, ...]:
    """The words after git's own options."""
    words = list(call.words)
    while words and words[0].startswith("-"):
        takes = words[0] in ("-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path")
        del words[: 2 if takes else 1]
    return tuple(words)


def _git(call: Call, words: tuple[str, ...]) -> str:
    if call.program != "git":
        return ""
    given = call.words
    settings = [b for a, b in pairwise(given) if a in ("-c", "--config-env")]
    settings += [word[2:] for word in given if re.match(r"-c\w", word)]
    if any(_GIT_CODE.match(setting) for setting in settings):
        return "makes git run another program"
    if any(word.startswith("--exec-path=") for word in given):
        return "makes git run another program"
    if words[:1] == ("push",) and any(_is_address(word) for word in words[1:]):
        return "pushes to an address instead of a remote of this repository"
    return ""


def _is_address(word: str) -> bool:
    return (
        "://" in word or re.match(r"[\w.-]+@[\w.-]+:|\.{0,2}/|[\w.-]+\.[\w.-]+:", word) is not None
    )


# ── network ──────────────────────────────────────────────────────────────────────────────────


def _network(call: Call) -> str:
    program, words = call.program, call.words
    if program in _LOOKUPS:
        filled = any(part.kind in ("commands", "variable") for w in call.args for part in w.parts)
        return "puts data into a host name that it looks up" if filled else ""
    if program in ("nc", "netcat.openbsd") and not any(re.match(r"-\w*z", word) for word in words):
        return "opens a connection to another machine"
    if program == "rsync" and any(re.match(r"[^/\s]+:(?!\\)", w) for w in words if w[:1] != "-"):
        return "copies files to or from another machine"
    if program == "aws" and words[:2] == ("s3", "cp") and words[-1].startswith("s3://"):
        return "uploads to `s3`"
    return _fetch(call) if program in _FETCHERS else ""


def _fetch(call: Call) -> str:
    words = call.words
    if any(word.substitutions for word in call.args):
        return "puts the output of a command into a request"
    urls = [w for w in words if w[:1] != "-" and ("://" in w or "." in w or ":" in w)]
    here = bool(urls) and all(_HERE.match(url) for url in urls if "://" in url or _HERE.match(url))
    method = any(
        a in ("-X", "--request", "--method") and b.upper() in _METHODS for a, b in pairwise(words)
    ) or any(
        re.fullmatch(r"(?:-X|--request=|--method=)(?:POST|PUT|PATCH|DELETE)", w) for w in words
    )
    sends = method or any(_SENDS.fullmatch(w) for w in words if w.startswith("-"))
    files = any(w.startswith("@") or "=@" in w for w in words)
    if sends and (files or not here):
        return "sends data to another machine"
    return ""


# ── files ────────────────────────────────────────────────────────────────────────────────────


def _writes(call: Call, place: Place, moved: Moved) -> str:
    rules = known()
    operands = [w for w in call.args if not w.text.startswith("-") or w.dynamic]
    targets = [w for w in call.args if re.match(r"(?:of|--output|--target-directory)=", w.text)]
    deletes = call.program in rules.deletes
    if deletes or call.program in rules.writes.all:
        targets += operands
    elif call.program in rules.writes.last:
        targets += operands[-1:]
    elif call.program in ("mkdir", "touch"):
        targets += operands
    elif call.program in ("sed", "perl", "sort", "curl", "wget", "yq"):
        targets += _option_targets(call, operands)
    elif call.program == "find" and "-delete" in call.words:
        deletes, targets = True, [w for w in call.args[:1] if w.text[:1] not in "-(!"]
    for word in targets:
        if problem := _target(word, deletes, place, moved):
            return problem
    return ""


def _option_targets(call: Call, operands: list[Word]) -> list[Word]:
    """Files that are written because of an option: in place, or as an output file."""
    words = call.args
    if call.program in ("sed", "perl", "yq"):
        edits = any(re.match(r"-\w*i|--in-?place", word.text) for word in words)
        return operands[1:] if edits else []
    option = "-O" if call.program == "wget" else "-o"
    found = [b for a, b in pairwise(words) if a.text in (option, "--output")]
    return found + [Word(w.source, w.parts) for w in words if w.text.startswith("--output=")]


def _target(word: Word, deletes: bool, place: Place, moved: Moved) -> str:
    text = re.sub(r"^(?:of|--output|--target-directory)=", "", word.text)
    verb = "deletes" if deletes else "writes"
    if secrets().find(word) == "anywhere":
        return f"{verb} credentials"
    for one in _loop_values(word, text):
        where = locate(one, place, moved)
        if where == "outside":
            return f"{verb} outside the working folder: `{shown(one)}`"
        if where in ("whole", "git") and deletes:
            return "deletes everything in the working folder, or its history"
        if where == "git":
            return "writes to the repository's internal files"
    return ""


def _loop_values(word: Word, text: str) -> Iterator[str]:
    if len(word.parts) == 1 and word.parts[0].kind == "loop":
        yield from (value.text for value in word.parts[0].values)
    else:
        yield text


def _permissions(call: Call, place: Place, moved: Moved) -> str:
    if call.program != "chmod":
        return ""
    mode, *paths = [w for w in call.words if not re.fullmatch(r"-[a-zA-Z]{1,3}|--.*", w)] or [""]
    if _OPEN_MODE.fullmatch(mode):
        return "gives all users access"
    if any(locate(path, place, moved) == "outside" for path in paths):
        return "changes permissions outside the working folder"
    return ""


def _reads_secrets(call: Call) -> str:
    for word in _words_that_may_be_paths(call):
        found = secrets().find(word)
        if found == "anywhere":
            return "touches credentials"
        if found and word.static and (call.program in _SHOWERS or _shows(call)):
            return "shows a file with secrets"
    if call.program in ("jq", "yq") and any(_ENVIRONMENT.search(text) for text in call.words):
        return "shows the whole environment"
    if call.program in ("echo", "printf"):
        names = [part.text for word in call.args for part in word.parts if part.kind == "variable"]
        if any(known().secret_variables.search(name) for name in names):
            return "shows a variable that holds a secret"
    return ""


def _words_that_may_be_paths(call: Call) -> Sequence[Word]:
    """All words except those that the program takes as text."""
    if call.program in ("echo", "printf", "[", "test", "[[", "which", "type", "true", ":"):
        return ()
    args = list(call.args)
    for subcommand, reader in readers().get(call.program, ()):
        if tuple(call.words[: len(subcommand)]) == subcommand and reader.operands == "pattern":
            named = reader.patterns & {w.text for w in args}
            operands = [w for w in args[len(subcommand) :] if not w.text.startswith("-")]
            skipped = operands[:1] if not named else []
            return [w for w in args if w not in skipped and not _is_prose(w)]
    return [word for word in args if not _is_prose(word)]


def _is_prose(word: Word) -> bool:
    return any(c.isspace() for c in word.text) or word.text.startswith(("--exclude", "--include"))


def _shows(call: Call) -> bool:
    return any(
        reader.contents
        for subcommand, reader in readers().get(call.program, ())
        if tuple(call.words[: len(subcommand)]) == subcommand
    ) or (call.program == "git" and call.words[:1] in (("show",), ("cat-file",)))


def assignment_danger(name: str, value: Word) -> str:
    """Why setting a variable is harmful; empty if it is not known to be."""
    variables = known().variables
    if f"{name}={value.text}" in variables.exact or name in ("",):
        return ""
    if name_pattern(variables.safe).fullmatch(name) or name_pattern(variables.undecided).fullmatch(
        name
    ):
        return ""
    if name in ("PATH", "HOME") or name_pattern(variables.runs).fullmatch(name):
        return f"sets `{shown(name)}`, which changes the programs that run"
    return ""
