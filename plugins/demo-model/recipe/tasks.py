"""What the model can do: requests, the calls they need, and the replies to results."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from grammar import expand
from words import STOP, command, directory, filename, identifier, line

Call = tuple[str, dict[str, str]]
ALL_TOOLS = ("Read", "Write", "Edit", "Bash")


@dataclass
class Task:
    """A request and the calls that answer it, in order; `reply` is said when all went well."""

    words: str
    calls: list[Call]
    reply: str = ""
    kind: str = ""
    shows: bool = False
    uses_memory: bool = field(default=False)


POLITE = (
    "[||||||||please |can you |could you |would you |hey, |hi, |now |ok, |then |and |next, |"
    "can you please |could you please |i want you to |i need you to |i'd like you to |"
    "please can you |next |also |so |first |you should |let's |go and |quickly |just |"
    "now please |great, now |thanks, now |ok now |hello, |will you |and now |finally |"
    "alright, |good, now |hey can you |i would like you to ]"
)
SAFE_ENDING = "[|||||||||||| please|, please| for me| now|, thanks]"


def describe(text: str) -> str:
    first = text.split()[0]
    known = {
        "ls": "List files",
        "pwd": "Show the current directory",
        "whoami": "Show the current user",
        "date": "Show the date",
        "git": "Run git",
        "cat": "Show a file",
        "mkdir": "Create a directory",
        "rm": "Delete a file",
        "mv": "Move a file",
        "cp": "Copy a file",
        "touch": "Create a file",
        "printf": "Append a line",
        "grep": "Search in files",
        "find": "Find files",
        "wc": "Count",
        "chmod": "Change permissions",
    }
    return known.get(first, "Run a command")


def bash(text: str) -> Call:
    return "Bash", {"command": text, "description": describe(text)}


def finish(rng: random.Random, text: str, ending: str = "") -> str:
    """Prefix, ending and capitals as users write them; `text` is already filled in."""
    text = expand(rng, POLITE) + text + expand(rng, ending)
    if rng.random() < 0.35:
        text = text[0].upper() + text[1:]
    return text


def show_file(rng: random.Random, name: str, kind: str = "") -> str:
    """A file name as users write it, maybe quoted, maybe introduced."""
    quote = rng.choice(["", "", "", "", "", '"', "'", "`"])
    intro = rng.choice(
        [
            "",
            "",
            "",
            "",
            "the file ",
            "file ",
            "a file called ",
            "a file named ",
            "the file called ",
            "a new file ",
            "a file ",
        ]
        if kind == "new"
        else ["", "", "", "", "", "the file ", "file ", "my ", "the "]
    )
    return f"{intro}{quote}{name}{quote}"


def show_text(rng: random.Random, text: str, *, last: bool) -> str:
    """A text as users write it: bare where that is unambiguous, else quoted."""
    words = text.split()
    plain = all(part.lower() not in STOP for part in words) and len(words) <= 4
    bare = last or plain
    if bare and text[-1] not in ".?!,;:" and '"' not in text and rng.random() < 0.6:
        return text
    quotes = [mark for mark in ('"', '"', "'", "`") if mark not in text] or ['"']
    mark = rng.choice(quotes)
    return f"{mark}{text}{mark}"


WRITE_LAST = [
    "[create|make|write|add|generate|set up|produce|save|start|put down] {NF} "
    "[with|containing|with the text|with text|with the content|with content|with the contents|that "
    "says|"
    "saying|which says|that contains|which contains|with the words|with the word|with the line|"
    "with this text|with the following text|with the following content|and write|and put in|"
    "having the text|reading|that reads|with the string|with this in it|whose content is|"
    "with a line saying|with the message|holding|and fill it with|and write in it|"
    "with the single line|including|with inside][: | ]{T}",
    "{NF} [should|must|shall] [contain|say|read|have|hold|be created with] [the text |]{T}",
    "[create|make|write|add] {NF}[: |. Content: |, content: | content |, text: |; content: |, it "
    "should say |"
    ". it should contain |, and put this in: |, the text is ]{T}",
    "[i need|i want|give me|we need|there should be] {NF} [with|containing|with the text|that says|"
    "saying] {T}",
    "[in|into|to] {F} [write|put|save|store] [the text |]{T}",
    "a file [called|named] {F} [with|containing|with the text] {T}",
    "new file {F}[: | with | with text | containing ]{T}",
    "file {F} [with|containing|text|content] {T}",
]
WRITE_FIRST = [
    "[write|put|save|store|place|insert|dump] [the text |the word |the words |this text: |]{t} "
    "[to|into|in|in the file|to the file|into the file|in a file called|to a file named|as|"
    "in a new file|into a file named|in a file named|to a new file called|under the name|to disk "
    "as] {B}",
    "{t} should [be|go|be written|be saved] [in|into|to] {B}",
    "[create|make|write] a [text |new |]file with [the text |the content |]{t} "
    "[called|named|and call it|and name it|in|as|at] {B}",
    "[create|make] {t} [in|as] [the file |a file called ]{B}",
]
EMPTY = [
    "[create|make|add|touch|generate] [an empty file|a new empty file|a blank file|an empty file "
    "called|"
    "an empty file named|the empty file|empty file|a blank file named] {B}",
    "[create|make|add] [a file called|a file named|a new file called|the file|a new file|a file] "
    "{B}",
    "[create|make|touch] {B}",
    "[i need|i want] an empty [file|file called|file named] {B}",
]
PROGRAMS = [
    (
        "py",
        'print("{X}")',
        "[python script|python program|python file|script|program|small program|python code file]",
    ),
    ("py", 'print("{X}")', "file"),
    (
        "js",
        'console.log("{X}");',
        "[javascript file|node script|script|js file|javascript program|program|file]",
    ),
    ("sh", 'echo "{X}"', "[shell script|bash script|script|sh script|file|shell file]"),
    ("rb", 'puts "{X}"', "[ruby script|ruby file|script|program|file|ruby program]"),
    ("html", "<h1>{X}</h1>", "[html page|web page|page|html file|file|website]"),
    (
        "md",
        "# {X}",
        "[markdown file with the title|markdown file titled|note titled|document with "
        "the title|file with the heading]",
    ),
]


def write(rng: random.Random) -> Task:
    name, text = filename(rng), line(rng)
    roll = rng.random()
    if roll < 0.06:
        pattern = rng.choice(EMPTY)
        words = finish(rng, expand(rng, pattern).replace("{B}", show_file(rng, name)), SAFE_ENDING)
        return Task(
            words,
            [("Write", {"file_path": name, "content": ""})],
            f"Done: I created {name}.",
            "write-empty",
        )
    if roll < 0.2:
        extension, body, noun = rng.choice(PROGRAMS)
        stem = name.rsplit(".", 1)[0] if not name.startswith(".") else identifier(rng)
        name = f"{stem}.{extension}"
        text = line(rng, 4).replace('"', "").replace("`", "")
        if extension == "md":
            pattern = "[create|make|write|add] [a|the] " + noun + " {T} [in|as|called|named] {B}"
            shown = show_text(rng, text, last=False)
        else:
            verb = "[prints|outputs|says|displays|shows|that prints|which prints]"
            pattern = rng.choice(
                [
                    f"[create|make|write|add|generate] a[| new| small| simple] {noun} [|called |named "
                    f"]{{B}} [that |which |]{verb[1:-1].split('|')[rng.randrange(5)]} {{T}}",
                    f"[create|make|write|add] {{B}}[,|] a {noun} [that|which] [prints|outputs|says|"
                    f"shows] {{T}}",
                    "[create|make|write|add|generate] {B} [that prints|which prints|printing|to print|"
                    "that outputs|that says hello by printing|which shows] {T}",
                    f"[create|make|write] a {noun} that [prints|outputs|shows] {{t}} [in|as|and call "
                    f"it|called|named|and save it as] {{B}}",
                ]
            )
            shown = show_text(rng, text, last=pattern.endswith("{T}"))
        words = expand(rng, pattern).replace("{B}", show_file(rng, name)).replace("{T}", shown)
        words = finish(rng, words.replace("{t}", shown))
        return Task(
            words,
            [("Write", {"file_path": name, "content": body.replace("{X}", text)})],
            f"Done: I created {name}.",
            "write-program",
        )
    if roll < 0.3:
        lines = [line(rng, 5) for _ in range(rng.randint(1, 4))]
        text = "\n".join(lines)
        tail = rng.choice(["\n```\n{T}\n```", ":\n```\n{T}\n```", ":\n{T}", ":\n\n{T}"])
        pattern = rng.choice(
            [
                "[create|make|write|add|save] {NF} [with|containing|with the content|"
                "with the following content|with this text|with these lines|with the "
                "text|as follows]"
            ]
        )
        words = finish(rng, expand(rng, pattern).replace("{NF}", show_file(rng, name, "new")))
        return Task(
            words + tail.replace("{T}", text),
            [("Write", {"file_path": name, "content": text})],
            f"Done: I created {name}.",
            "write-lines",
        )
    if roll < 0.75:
        pattern = expand(rng, rng.choice(WRITE_LAST[:1] * 6 + WRITE_LAST))
        shown = show_text(rng, text, last=True)
        pattern = pattern.replace("{NF}", show_file(rng, name, "new")).replace(
            "{F}", show_file(rng, name)
        )
        words = finish(
            rng, pattern.replace("{T}", shown), SAFE_ENDING if shown != text else "[||||||||||.]"
        )
    else:
        pattern = expand(rng, rng.choice(WRITE_FIRST))
        shown = show_text(rng, text, last=False)
        words = finish(
            rng, pattern.replace("{B}", show_file(rng, name)).replace("{t}", shown), SAFE_ENDING
        )
    return Task(
        words,
        [("Write", {"file_path": name, "content": text})],
        f"Done: I created {name}.",
        "write",
    )


def append_command(text: str, name: str) -> str:
    mark = '"' if "'" in text else "'"
    return f"printf '\\n%s' {mark}{text}{mark} >> {name}"


def append(rng: random.Random, memory: str) -> Task:
    name = memory if memory and rng.random() < 0.65 else ""
    text = line(rng).replace("`", "").replace("\\", "").replace("$", "")
    if "'" in text:
        text = text.replace('"', "").replace("!", "")
    file = name or filename(rng)
    target = (
        rng.choice(
            [
                "",
                "",
                " to it",
                " to the file",
                " there",
                " to that file",
                " at the end",
                " to this file",
            ]
        )
        if name
        else " "
        + rng.choice(["to", "to", "to", "at the end of", "to the end of", "in"])
        + " "
        + show_file(rng, file)
    )
    verb = expand(rng, "[append|add|write|append|add|put|attach|insert]")
    roll = rng.random()
    if roll < 0.3:
        text = "another line"
        what = expand(
            rng,
            "[a line|a line|another line|one more line|a new line|a line of text|"
            "some text|"
            "some line|a further line|something|one line|a second line|a third "
            "line]",
        )
        words = f"{verb} {what}{target}"
    elif roll < 0.65:
        intro = expand(
            rng,
            "[a line saying|a line that says|the line|a line with the text|a line "
            "with|the text|"
            "a line containing|a line:|another line saying|one more line saying|"
            "this line:|"
            "a new line saying|a line reading|the words|a new line with the text|a "
            "second line saying|]",
        )
        shown = show_text(rng, text, last=not target.strip())
        words = f"{verb} {intro} {shown}{target}".replace("  ", " ")
        if not intro and shown == text and not target:
            words = f"{verb} the line {shown}"
    else:
        shown = show_text(rng, text, last=True)
        middle = expand(
            rng,
            "[ the line| a line saying| a line that says|:| the text| a line:| "
            "one line:| a line with| this:] ",
        )
        words = f"{verb}{target}{middle}{shown}" if target.strip() else f"{verb} a line: {shown}"
        if name and rng.random() < 0.3:
            words = (
                expand(
                    rng,
                    "[it should also say|add to it|also write|the file should also "
                    "contain|append to it:] ",
                )
                + shown
            )
    call = bash(append_command(text, file))
    return Task(
        finish(rng, words, "" if words.endswith(text) else SAFE_ENDING),
        [call],
        f"Done: I appended a line to {file}.",
        "append",
        uses_memory=bool(name),
    )


READ = [
    "[read|show|show me|open|display|print|view|cat|see|look at|output|type|dump|check] {F}",
    "[show|show me|print|display|give me|tell me|read|get|i want to see|let me see|list|"
    "output] "
    "[the content of|the contents of|what is in|the text of|everything in|the text in|what's "
    "in] {F}",
    "[what is in|what's in|what does|what is inside|what stands in] {F}[|?]",
    "what does {F} [say|contain|look like|have inside|read][|?]",
    "[take a look at|have a look at|read me|read out|look into|read through|open up|look "
    "inside|"
    "let me see|let me read|i want to see|i want to read|can i see|may i see] {F}",
]
READ_IT = [
    "[read|show me|open|display|print|view|show|cat|see] [it|the file|that file|this file|"
    "it again|"
    "the file again|that|the result|what you wrote|what is in it|its content|its contents|"
    "the content]",
    "[what is in it|what's in it|what does it say|what does it contain|what is in the file|"
    "what does the file say|what is in that file|what does it look like now|what is in it "
    "now|"
    "what does the file look like now|how does it look now|let me see it|can i see it|"
    "what does the file contain now|show it to me|show me the file now][|?]",
]


def read(rng: random.Random, memory: str) -> Task:
    if memory and rng.random() < 0.5:
        return Task(
            finish(rng, expand(rng, rng.choice(READ_IT))),
            [("Read", {"file_path": memory})],
            kind="read",
            shows=True,
            uses_memory=True,
        )
    name = filename(rng)
    words = expand(rng, rng.choice(READ)).replace("{F}", show_file(rng, name))
    words = finish(rng, words, SAFE_ENDING)
    return Task(words, [("Read", {"file_path": name})], kind="read", shows=True)


REPLACE = [
    "[replace|swap|substitute|exchange] {a} [with|by|for] {b} in {F}",
    "[change|turn|rename|edit|modify|convert] {a} [to|into] {b} in {F}",
    "in {F}[,|] [replace|swap|substitute|exchange] {a} [with|by|for] {B}",
    "in {F}[,|] [change|turn|rename|edit] {a} [to|into] {B}",
    "[edit|change|modify|update|open] {F}[:| and| so that you|,] [replace|change] {a} [with|"
    "to|by] {B}",
    "{F}: [replace|change] {a} [with|to] {B}",
    "[the word |]{a} [in|inside] {F} should be {B}",
]
REPLACE_IT = [
    "[replace|swap|substitute|exchange] {a} [with|by|for] {B}",
    "[change|turn|rename] {a} [to|into] {B}",
    "[change|replace] {a} [to|with|by] {b} in [it|the file|that file|there|this file]",
    "in [it|the file|that file], [change|replace] {a} [to|with] {B}",
    "[edit|change] [it|the file][:| and| so that you] [replace|change] {a} [with|to] {B}",
]


def replace(rng: random.Random, memory: str) -> Task:
    old, new = line(rng, 3), line(rng, 3)
    while '"' in old + new or "`" in old + new:
        old, new = line(rng, 3), line(rng, 3)
    name = memory if memory and rng.random() < 0.5 else ""
    file = name or filename(rng)
    pattern = expand(rng, rng.choice(REPLACE_IT if name else REPLACE))
    last = pattern.endswith("{B}")
    shown_new = show_text(rng, new, last=last)
    words = pattern.replace("{F}", show_file(rng, file))
    words = words.replace("{a}", show_text(rng, old, last=False))
    words = words.replace("{b}", shown_new).replace("{B}", shown_new)
    words = finish(rng, words, "" if last else SAFE_ENDING)
    edit = ("Edit", {"file_path": file, "old_string": old, "new_string": new})
    return Task(
        words,
        [("Read", {"file_path": file}), edit],
        f"Done: I changed {file}.",
        "replace",
        uses_memory=bool(name),
    )


RUN = [
    "[run|execute|run|run|launch|do|invoke|call|start|try|perform|issue] {C}",
    "[run|execute|use|try] the [command|shell command|bash command|following command|terminal "
    "command][:|] {C}",
    "[use|with|open] [bash|the shell|the terminal|a shell|your bash tool][ to run|: run|, run|:|"
    " and run| and execute|, execute] {C}",
    "[run|execute|do|type|enter] {C} in [bash|the shell|the terminal|a terminal|the console|a "
    "shell]",
    "[what is the output of|what does|show me the output of|show the output of|what happens "
    "with|"
    "give me the output of|tell me the output of|print the output of] {C}",
    "[bash|command|shell|run this|run this command|execute this|please run this|$|!|>]: {C}",
    "[$|!] {C}",
    "{C}",
]


def run(rng: random.Random) -> Task:
    text = command(rng)
    pattern = expand(rng, rng.choice(RUN[:1] * 5 + RUN))
    bare = pattern == "{C}"
    if bare:
        safe = [
            "ls",
            "pwd",
            "whoami",
            "date",
            "git",
            "cat",
            "grep",
            "find",
            "npm",
            "pip",
            "python3",
            "python",
            "pytest",
            "make",
            "cargo",
            "docker",
        ]
        while text.split()[0] not in safe or (len(text.split()) == 1 and text in ("date", "make")):
            text = command(rng)
    quoted = [mark for mark in "``\"'" if mark not in text]
    shown = text
    if quoted and not bare and rng.random() < 0.4:
        mark = rng.choice(quoted)
        shown = f"{mark}{text}{mark}"
    words = pattern.replace("{C}", shown)
    if not bare and pattern[0] not in "$!>":
        words = finish(rng, words, "" if shown == text else SAFE_ENDING)
    return Task(words, [bash(text)], kind="run", shows=True)


LOOK: list[tuple[str, str]] = [
    (
        "ls",
        "[list|show|show me|display|print|give me|see|what are|tell me|get][ all|] "
        "[the files|files|my files|the files here|all files here|the folder|the directory|this "
        "folder|"
        "this directory|the current directory|the folder content|the contents of this folder|"
        "the files in this folder|the files in this directory|the files in the current "
        "directory|"
        "what is here|what is in this folder|everything here|the directory contents|the file "
        "list|"
        "the content of the current folder|all files|a list of the files|files in the current "
        "folder]",
    ),
    (
        "ls",
        "[what is in|what's in|what is inside|what do we have in|which files are in|what files "
        "are in|"
        "what can you see in|what do you see in|look into|look in|look at|check] "
        "[this folder|this directory|here|the current directory|the folder|the directory|this "
        "project|"
        "the current folder|my folder|the working directory][|?]",
    ),
    (
        "ls",
        "[which files are there|what files are there|what files are here|which files exist|what "
        "is here|"
        "what files do you see|which files do we have|what do you see|are there any files|dir|"
        "ll|"
        "do i have any files|what files do i have|what files exist|list files|list everything|"
        "list the directory|list dir|directory listing|file listing|show files|look around][|?| "
        "here]",
    ),
    (
        "ls -la",
        "[list|show|show me|display] [all files including hidden ones|all files, also "
        "hidden ones|"
        "hidden files|the hidden files|all the files with details|the files with details|"
        "all files with their sizes|the files and their sizes|the file sizes|a detailed "
        "file list|"
        "the permissions of the files|files in long format|dotfiles]",
    ),
    (
        "pwd",
        "[where am i|where are we|which folder is this|which directory is this|what directory "
        "am i in|"
        "what folder am i in|which directory am i in|what is the current directory|"
        "what is the working directory|show the current directory|print the working directory|"
        "tell me the current directory|what is the path of this folder|in which folder are we|"
        "what is this folder called|show me the current path|where is this project][|?]",
    ),
    (
        "date",
        "[what time is it|what is the time|what date is it|what is the date|what day is it|"
        "show the date|"
        "show me the date|tell me the time|tell me the date|what is today's date|current time|"
        "current date|what day is today|what's the time|print the date|today's date][|?| now| "
        "today]",
    ),
    (
        "whoami",
        "[who am i|what is my user name|which user am i|what user am i|show my user name|"
        "what is my username|who is logged in|which user is this|tell me my user name][|?]",
    ),
    (
        "git status",
        "[git status|show the git status|show me the git status|what is the git status|"
        "what is the status of the repository|are there uncommitted changes|check git|"
        "check the git status|is the working tree clean|which files changed|"
        "what is the state of the repository|show the repo status|what changed in git|"
        "do i have uncommitted changes|is everything committed][|?]",
    ),
    (
        "git log --oneline -n 10",
        "[show|show me|list|print|what are|give me] [the last commits|the latest commits|the "
        "git log|"
        "the recent commits|recent commits|the git history|the commit "
        "history|"
        "the history of the repository|the commits|the latest changes in "
        "git|last commits]",
    ),
    (
        "git diff",
        "[show me the diff|show the diff|what did i change|show my changes|show the "
        "changes|"
        "what are my changes|show me what changed|show me my changes|print the diff|"
        "what have i changed|what is the diff|show uncommitted changes|diff please][|?]",
    ),
    (
        "git branch",
        "[which branch am i on|what branch is this|list the branches|show the branches|"
        "what branch am i on|which branches are there|show me the branches|what is the "
        "current branch|"
        "list all branches|which git branch is this|on which branch are we][|?]",
    ),
    (
        "df -h",
        "[how much disk space is left|how much disk space is free|show the disk space|check "
        "the disk space|"
        "is the disk full|how full is the disk|how much space is left][|?]",
    ),
]


def look(rng: random.Random) -> Task:
    if rng.random() < 0.2:
        folder = directory(rng)
        pattern = (
            "[list|show|show me|what are|display|which are] [the files in|all files in|"
            "files in|"
            "the content of the folder|the contents of the directory|the files of|the "
            "directory|"
            "the folder|everything in the folder|the files in the folder|the files under] "
            "{D}"
        )
        if rng.random() < 0.35:
            pattern = (
                "[what is in|what's in|which files are in|what files are in] "
                "[the folder|the directory|folder] {D}"
            )
        quote = rng.choice(["", "", "", "`", '"', "'"])
        words = expand(rng, pattern).replace("{D}", f"{quote}{folder}{quote}")
        return Task(
            finish(rng, words, SAFE_ENDING), [bash(f"ls {folder}")], kind="look", shows=True
        )
    text, pattern = rng.choice(LOOK + LOOK[:3] * 2)
    return Task(
        finish(rng, expand(rng, pattern), SAFE_ENDING), [bash(text)], kind="look", shows=True
    )


def _folder(rng: random.Random) -> tuple[str, str]:
    folder = directory(rng)
    quote = rng.choice(["", "", "", "", "`", '"', "'"])
    return folder, f"{quote}{folder}{quote}"


def manage(rng: random.Random, memory: str) -> Task:
    """Delete, create directories, move, copy, run a script, search, count."""
    it = bool(memory) and rng.random() < 0.45
    file = memory if it else filename(rng)
    shown = show_file(rng, file)
    if it:
        shown = rng.choice(["it", "the file", "that file", "this file", "it"])
    other, folder_pair, name = filename(rng), _folder(rng), identifier(rng)
    folder, shown_folder = folder_pair
    quoted_name = show_text(rng, name, last=False)
    forms: list[Callable[[], tuple[str, str, str]]] = [
        lambda: (
            "[delete|remove|erase|get rid of|rm|trash|throw away|destroy|drop] "
            f"{shown}{' again' if it and rng.random() < 0.3 else ''}",
            f"rm {file}",
            f"Done: I deleted {file}.",
        ),
        lambda: (f"[delete|remove|erase] {shown}", f"rm {file}", f"Done: I deleted {file}."),
        lambda: (
            "[make|create|add|set up|mkdir|start] [a directory|a folder|a new directory|a new "
            "folder|"
            "the directory|the folder|the directories|a directory called|a folder named|a "
            "folder called|"
            "a directory named|directory|folder|a new folder called|a subfolder|a "
            f"subdirectory] {shown_folder}",
            f"mkdir -p {folder}",
            f"Done: I created the directory {folder}.",
        ),
        lambda: (
            "[delete|remove|erase|get rid of] [the directory|the folder|the whole folder|"
            "directory|folder|"
            f"the directory called|the folder named] {shown_folder}",
            f"rm -r {folder}",
            f"Done: I deleted {folder}.",
        ),
        lambda: (
            f"[rename|move|mv] {shown} [to|into|as] {other}"
            if rng.random() < 0.7
            else f"rename {shown} to {show_text(rng, other, last=True)}",
            f"mv {file} {other}",
            f"Done: I moved {file} to {other}.",
        ),
        lambda: (
            f"[copy|duplicate|cp|make a copy of] {shown} [to|into|as] {other}",
            f"cp {file} {other}",
            f"Done: I copied {file} to {other}.",
        ),
        lambda: (
            f"make {shown} executable",
            f"chmod +x {file}",
            "Done. The command printed nothing.",
        ),
    ]
    pattern, text, reply = rng.choice(forms)()
    memory_used = it and file in text and shown in pattern
    if rng.random() < 0.22:
        return _search(rng, name, quoted_name, folder, shown_folder)
    return Task(
        finish(rng, expand(rng, pattern), SAFE_ENDING),
        [bash(text)],
        reply,
        "manage",
        uses_memory=memory_used,
    )


def _search(rng: random.Random, name: str, quoted: str, folder: str, shown_folder: str) -> Task:
    file = filename(rng)
    shown = show_file(rng, file)
    script = f"{identifier(rng)}.{rng.choice(['py', 'sh', 'js'])}"
    runner = {"py": "python3", "sh": "bash", "js": "node"}[script.rsplit(".", 1)[1]]
    pattern, text = rng.choice(
        [
            (
                f"[search for|find|look for|grep for|grep] {quoted}[| here| in the files| in all files| "
                "in this folder| in this project]",
                f"grep -rn '{name}' .",
            ),
            (
                f"[search for|look for|grep for|find the word|find the text] {quoted} in "
                f"{shown_folder}",
                f"grep -rn '{name}' {folder}",
            ),
            (f"where is {quoted} [used|defined|mentioned]", f"grep -rn '{name}' ."),
            (
                f"[how many lines does {shown} have|count the lines in {shown}|how many lines are in "
                f"{shown}|"
                f"count the lines of {shown}|how long is {shown}]",
                f"wc -l {file}",
            ),
            (
                "[find|locate|where is|look for|search] [the file|a file called|a file named|the file "
                f"called] {file}",
                f"find . -name '{file.rsplit('/', 1)[-1]}'",
            ),
            (
                "[run|execute|start|launch] [|the script |the program |the file |my script "
                f"]{script}",
                f"{runner} {script}",
            ),
        ]
    )
    return Task(
        finish(rng, expand(rng, pattern), SAFE_ENDING), [bash(text)], kind="search", shows=True
    )


NAMELESS = [
    "[delete|remove|erase|open|read|show me|rename|copy] [it|the file|that file|this file|that]",
    "[append|add] [a line|another line|one more line|a line saying {S}|some text][| to it| to the "
    "file|]",
    "[now |then |]append a line[| please]",
    "[replace|change] {W} [with|to|by] {W}[| in it| in the file]",
    "[what is in it|what does it say|what's in the file|what does the file say|show it|print it]",
]
