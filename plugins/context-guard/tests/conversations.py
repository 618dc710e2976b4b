"""Prompts of Claude Code's shape, made from Python's own library: text that no commit changes."""

import json
import random
import sysconfig
from pathlib import Path

LIBRARY = Path(sysconfig.get_path("stdlib"))
PATTERNS = ("[a-q]*.py", "json/*.py", "logging/*.py", "pydoc_data/topics.py")


def conversation(seed, turns):
    """The requests of one conversation, each longer than the one before."""
    chance = random.Random(seed)
    paths = sorted(path for pattern in PATTERNS for path in LIBRARY.glob(pattern))
    texts = [path.read_text("utf-8") for path in paths]
    files = [f"/usr/lib/python3/{path.relative_to(LIBRARY).as_posix()}" for path in paths]
    long = [text for text in texts if len(text) > 9000]
    tools = [_tool(chance, texts, number) for number in range(18)]
    system = [{"type": "text", "text": chance.choice(long)[:12_000]}]
    messages = [{"role": "user", "content": "Please mend " + chance.choice(texts)[:400]}]
    for turn in range(turns):
        call = {"file_path": chance.choice(files), "offset": turn}
        use = {"type": "tool_use", "id": f"toolu_{turn}", "name": "Read", "input": call}
        said = {"type": "text", "text": chance.choice(texts)[: chance.randrange(100, 800)]}
        found = _result(chance, texts, files)[:6000]
        result = {"type": "tool_result", "tool_use_id": f"toolu_{turn}", "content": found}
        messages += [
            {"role": "assistant", "content": [said, use]},
            {"role": "user", "content": [result]},
        ]
        yield {"model": "m", "system": system, "tools": tools, "messages": list(messages)}


def _tool(chance, texts, number):
    properties = {
        f"parameter_{n}": {"type": "string", "description": chance.choice(texts)[200:300]}
        for n in range(5)
    }
    schema = {"type": "object", "properties": properties, "required": ["parameter_0"]}
    text = chance.choice(texts)[:1500]
    return {"name": f"Tool{number}", "description": text, "input_schema": schema}


def _result(chance, texts, files):
    """A file, with numbered lines or without, a listing, or JSON."""
    text = chance.choice(texts)
    match chance.randrange(4):
        case 0:
            return "\n".join(f"{n:6}\t{line}" for n, line in enumerate(text.splitlines(), 1))
        case 1:
            rows = [(chance.randrange(10**5), path) for path in chance.sample(files, 40)]
            return "\n".join(
                f"-rw-r--r-- 1 me me {size} Nov 20 21:10 {path}" for size, path in rows
            )
        case 2:
            rows = [
                {"id": chance.randrange(10**6), "score": round(chance.random(), 2)}
                for _ in range(80)
            ]
            return json.dumps(rows, indent=1)
        case _:
            return text


def rendered(body):
    """The prompt as a chat template writes it."""
    parts = ["<|im_start|>system\n", *(part["text"] for part in body["system"]), "\n# Tools\n"]
    for tool in body["tools"]:
        keys = ("name", "description")
        function = {key: tool[key] for key in keys} | {"parameters": tool["input_schema"]}
        parts.append(json.dumps({"type": "function", "function": function}) + "\n")
    for message in body["messages"]:
        parts.append(f"<|im_end|>\n<|im_start|>{message['role']}\n")
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        parts += map(_rendered_block, blocks)
    return "".join(parts)


def _rendered_block(block):
    match block["type"]:
        case "text":
            return block["text"]
        case "tool_use":
            call = json.dumps({"name": block["name"], "arguments": block["input"]})
            return f"<tool_call>{call}</tool_call>"
        case _:
            return f"<tool_response>{block['content']}</tool_response>"
