"""Requests written by hand, not by the grammar, with the call or the reply they should get.

Each row: kind, words, expected. Expected is a call as `(name, arguments)` or the start of a reply.
A row with a fourth entry has a file in memory from an earlier turn.
"""

from __future__ import annotations

from topics import UNKNOWN, WHICH_FILE


def write(path: str, content: str) -> tuple[str, dict[str, str]]:
    return "Write", {"file_path": path, "content": content}


def bash(command: str) -> tuple[str, dict[str, str]]:
    return "Bash", {"command": command}


def read(path: str) -> tuple[str, dict[str, str]]:
    return "Read", {"file_path": path}


def added(text: str, path: str) -> tuple[str, dict[str, str]]:
    mark = '"' if "'" in text else "'"
    return bash(f"printf '\\n%s' {mark}{text}{mark} >> {path}")


HELLO, CAN = "Hello! I am the demo model", "I can create, read and change files"
WHO, CONNECT = "I am a very small demonstration model", "Run `plugway models pull`"

ROWS: list[tuple[str, str, object] | tuple[str, str, object, str]] = [
    ("write", "create hello.txt with the text hi", write("hello.txt", "hi")),
    (
        "write",
        "Create a file called greeting.md containing Hello World",
        write("greeting.md", "Hello World"),
    ),
    (
        "write",
        'please write "The quick brown fox" into fox.txt',
        write("fox.txt", "The quick brown fox"),
    ),
    (
        "write",
        "make notes/today.md that says remember the milk",
        write("notes/today.md", "remember the milk"),
    ),
    (
        "write",
        "write a file qz81.cfg with the content 'verbose = 7'",
        write("qz81.cfg", "verbose = 7"),
    ),
    (
        "write",
        "Can you create shopping-list.txt with bread, butter and eggs",
        write("shopping-list.txt", "bread, butter and eggs"),
    ),
    ("write", "save the text good night moon to moon.txt", write("moon.txt", "good night moon")),
    (
        "write",
        "I need a file named TODO.md with the text fix the roof",
        write("TODO.md", "fix the roof"),
    ),
    (
        "write",
        "make a file a.py that prints hello plugway",
        write("a.py", 'print("hello plugway")'),
    ),
    (
        "write",
        "write a python script greet.py that prints good morning",
        write("greet.py", 'print("good morning")'),
    ),
    ("write", "create an empty file called placeholder.tmp", write("placeholder.tmp", "")),
    (
        "write",
        "Create `src/util/zeta_9.ts` with the content `export const k = 42`",
        write("src/util/zeta_9.ts", "export const k = 42"),
    ),
    ("write", "put hello into world.txt", write("world.txt", "hello")),
    (
        "write",
        "Please create the file /tmp/plugway/test-01.txt with the text It works!",
        write("/tmp/plugway/test-01.txt", "It works!"),
    ),
    (
        "write",
        "add a new file rhubarb.log saying vanilla custard 77",
        write("rhubarb.log", "vanilla custard 77"),
    ),
    (
        "write",
        "hi, create xylophone.txt with text zwölf Boxkämpfer",
        write("xylophone.txt", "zwölf Boxkämpfer"),
    ),
    (
        "write",
        "generate README.rst with the line Welcome to Zanzibar",
        write("README.rst", "Welcome to Zanzibar"),
    ),
    ("write", 'create hello.txt with the text "hi"', write("hello.txt", "hi")),
    ("write", "create demo.txt with the text: this is a demo", write("demo.txt", "this is a demo")),
    ("write", 'could you make me a file named k.json with {"a": 1}', write("k.json", '{"a": 1}')),
    ("run", "run ls", bash("ls")),
    ("run", "run git status", bash("git status")),
    ("run", "please run `npm run build`", bash("npm run build")),
    ("run", "execute python3 -m http.server 9000", bash("python3 -m http.server 9000")),
    ("run", "run the command cat /etc/hostname", bash("cat /etc/hostname")),
    ("run", "Run uname -a", bash("uname -a")),
    ("run", "run make test in the shell", bash("make test")),
    ("run", "use bash to run echo kiwi", bash("echo kiwi")),
    ("run", "can you run pytest -x tests/unit", bash("pytest -x tests/unit")),
    ("run", "execute: docker compose up -d", bash("docker compose up -d")),
    ("run", "git log --oneline -n 5", bash("git log --oneline -n 5")),
    ("run", "please execute `du -h --max-depth=1`", bash("du -h --max-depth=1")),
    ("look", "list the files", bash("ls")),
    ("look", "what is in this folder?", bash("ls")),
    ("look", "Show me the files in this directory", bash("ls")),
    ("look", "which files are here?", bash("ls")),
    ("look", "list files please", bash("ls")),
    ("look", "what's in the current directory", bash("ls")),
    ("look", "list the files in src", bash("ls src")),
    ("look", "what files are in tests/fixtures", bash("ls tests/fixtures")),
    ("look", "where are we?", bash("pwd")),
    ("look", "what time is it", bash("date")),
    ("look", "what is the git status", bash("git status")),
    ("read", "show me README.md", read("README.md")),
    ("read", "read pyproject.toml", read("pyproject.toml")),
    ("read", "What is in hello.txt?", read("hello.txt")),
    ("read", "open docs/guide/intro.md", read("docs/guide/intro.md")),
    ("read", "please display the contents of server.log", read("server.log")),
    ("read", "what does main.rs contain?", read("main.rs")),
    ("read", "can you read the file zq_17.yaml", read("zq_17.yaml")),
    ("read", "print out package.json", read("package.json")),
    ("read", "show it to me", read("banana.txt"), "banana.txt"),
    ("read", "read it again", read("w7.md"), "w7.md"),
    ("append", "append a line saying bye to hello.txt", added("bye", "hello.txt")),
    ("append", "now append a line", added("another line", "hello.txt"), "hello.txt"),
    ("append", "append another line", added("another line", "q1.txt"), "q1.txt"),
    ("append", "add the line see you tomorrow to notes.md", added("see you tomorrow", "notes.md")),
    ("append", "now add a line saying goodbye", added("goodbye", "farewell.txt"), "farewell.txt"),
    ("append", 'append "third line" to list.txt', added("third line", "list.txt")),
    ("append", "add a line to log.txt", added("another line", "log.txt")),
    ("append", "add a line that says it's over to end.txt", added("it's over", "end.txt")),
    ("append", "Now append the text rosebud to it", added("rosebud", "kane.md"), "kane.md"),
    ("replace", "replace foo with bar in x.txt", read("x.txt")),
    ("replace", "change red to blue in colors.css", read("colors.css")),
    ("replace", "in config.yaml replace 8080 with 9090", read("config.yaml")),
    ("replace", "replace hi with hello", read("hello.txt"), "hello.txt"),
    ("replace", 'change "debug" to "release" in build.gradle', read("build.gradle")),
    ("manage", "delete x.txt", bash("rm x.txt")),
    ("manage", "remove the file old_data.csv", bash("rm old_data.csv")),
    ("manage", "make a directory d", bash("mkdir -p d")),
    ("manage", "create a folder called pictures", bash("mkdir -p pictures")),
    ("manage", "rename a.txt to b.txt", bash("mv a.txt b.txt")),
    ("manage", "copy main.py to backup.py", bash("cp main.py backup.py")),
    ("manage", "delete it", bash("rm tmp9.txt"), "tmp9.txt"),
    ("manage", "move report.pdf to archive/report.pdf", bash("mv report.pdf archive/report.pdf")),
    ("topic", "hello", HELLO),
    ("topic", "Hi there!", HELLO),
    ("topic", "good morning", HELLO),
    ("topic", "hey", HELLO),
    ("topic", "how are you?", "I am fine"),
    ("topic", "what is plugway?", "Plugway is a local gateway"),
    ("topic", "Tell me about Plugway", "Plugway is a local gateway"),
    ("topic", "who are you?", WHO),
    ("topic", "what model is this?", WHO),
    ("topic", "which model are you", WHO),
    ("topic", "are you Claude?", "No. I am not one"),
    ("topic", "are you GPT-4?", "No. I am not one"),
    ("topic", "what can you do?", CAN),
    ("topic", "help", CAN),
    ("topic", "how do I connect a real model?", CONNECT),
    ("topic", "how can i use a better model", CONNECT),
    ("topic", "how do I use ollama with plugway?", "Add an Ollama block"),
    ("topic", "can I connect LM Studio?", "Add an LM Studio block"),
    ("topic", "how do I add my Anthropic API key", "Add an Anthropic block"),
    ("topic", "thanks!", "You are welcome"),
    ("topic", "thank you very much", "You are welcome"),
    ("topic", "bye", "Goodbye"),
    ("topic", "see you later", "Goodbye"),
    ("topic", "ok", "Good."),
    ("topic", "never mind", "All right"),
    ("topic", "test", "It works"),
    ("topic", "how do I write a plugin?", "A plugin is a Python package"),
    ("topic", "tell me a joke", "I know only one"),
    ("topic", "why are you so dumb?", "Because I am a tiny"),
    ("topic", "does this need the internet?", "No. I run on this machine"),
    ("unknown", "what is the capital of France?", UNKNOWN),
    ("unknown", "write me a poem about the sea", UNKNOWN),
    ("unknown", "explain how TCP congestion control works", UNKNOWN),
    ("unknown", "fix the failing tests", UNKNOWN),
    ("unknown", "refactor the login module to use async", UNKNOWN),
    ("unknown", "Who was Ada Lovelace?", UNKNOWN),
    ("unknown", "what is 17 * 23", UNKNOWN),
    ("unknown", "translate good morning into french", UNKNOWN),
    ("unknown", "implement a binary search tree in C", UNKNOWN),
    ("unknown", "what do you think about politics", UNKNOWN),
    ("unknown", "review my pull request", UNKNOWN),
    ("unknown", "how many people live in Tokyo", UNKNOWN),
    ("unknown", "is it going to rain tomorrow?", UNKNOWN),
    ("unknown", "build me a website for my bakery", UNKNOWN),
    ("unknown", "find the bug in parser.py and fix it", UNKNOWN),
    ("nameless", "delete it", WHICH_FILE),
    ("nameless", "append a line", WHICH_FILE),
    ("nameless", "show me the file", WHICH_FILE),
]
