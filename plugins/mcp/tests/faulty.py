"""An MCP server in a few lines that misbehaves as its tools are told to; without the SDK, so that
it starts fast. Run as `python -S faulty.py [STATE_FILE]`.

The state file, if there is one, holds JSON: `tools` are descriptions by name that replace others.
"""

import json
import os
import subprocess
import sys
import threading

NAMES = (
    *("echo", "sleep", "crash", "hang", "big", "endless", "noise", "fork", "environment", "asks"),
    *("wrong", "image", "change", "fail", "roots", "twice", "deaf", "pid", "exit"),
    *("code", "line", "many"),
)
LOCK = threading.Lock()
PAUSE = threading.Event()
STATE = sys.argv[1] if len(sys.argv) > 1 else ""
ANSWERS = {}


def send(message):
    with LOCK:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def state():
    try:
        with open(STATE) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def tools():
    said = {name: f"Does {name}." for name in NAMES} | state().get("tools", {})
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    hints = {"readOnlyHint": True}
    return [
        {"name": name, "description": text, "inputSchema": schema, "annotations": hints}
        for name, text in said.items()
        if text
    ]


def text(said):
    return {"content": [{"type": "text", "text": said}]}


def ask(method):
    id_ = f"ask-{len(ANSWERS)}"
    ANSWERS[id_] = None
    send({"id": id_, "method": method})
    while ANSWERS[id_] is None:
        PAUSE.wait(0.005)
    return json.dumps(ANSWERS[id_])


def run(id_, name, arguments):  # noqa: C901
    said = arguments.get("text", "")
    if name == "echo":
        return text(said)
    if name == "sleep":
        PAUSE.wait(float(said))
        return text("slept")
    if name == "crash":
        print("about to crash: out of luck", file=sys.stderr, flush=True)
        os._exit(3)
    if name == "hang":
        return None
    if name == "deaf":
        os.close(0)
        PAUSE.wait()
    if name == "big":
        return text("x" * int(said))
    if name == "endless":
        while True:
            sys.stdout.write("y" * 2**20)
    if name == "noise":
        with LOCK:
            sys.stdout.write('hello from a library\n{"half": \n[1]\n\n\x00\xff\n"text"\n')
            sys.stdout.flush()
        send({"method": "notifications/message", "params": {"level": "info", "data": "x"}})
        send({"id": 99_999, "result": {}})
        send({"id": id_, "wrong": True})
        return text("noisy")
    if name == "fork":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=said == "session")
        return text(str(child.pid))
    if name == "environment":
        return text(json.dumps(dict(os.environ)))
    if name == "asks":
        for _ in range(1000):
            send({"id": "flood", "method": "ping"})
        return text("asked")
    if name == "wrong":
        return {"content": [{"type": "text", "text": 5}]}
    if name == "image":
        png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        items = [png, "not base64", "aGVsbG8="]
        return {"content": [{"type": "image", "data": i, "mimeType": "image/png"} for i in items]}
    if name == "change":
        send({"method": "notifications/tools/list_changed"})
        return text("changed")
    if name == "fail":
        return {**text(f"no {said}"), "isError": True}
    if name == "roots":
        return text(ask("roots/list") + " " + json.dumps(sys.argv[2:]))
    if name == "twice":
        send({"id": id_, "result": text("first")})
        return text("second")
    if name == "code":
        send({"id": id_, "error": {"code": int(said), "message": "no such ticket"}})
        return None
    if name == "line":
        with LOCK:
            sys.stdout.buffer.write(
                said.encode("latin-1").replace(b"ID", str(id_).encode()) + b"\n"
            )
            sys.stdout.flush()
        return None
    if name == "many":
        return {"content": [{"type": "text", "text": "x"}] * int(said)}
    if name == "pid":
        return text(str(os.getpid()))
    if name == "exit":
        send({"id": id_, "result": text("goodbye")})
        os._exit(0)
    raise ValueError(name)


def answer(message):
    id_, method, params = message["id"], message["method"], message.get("params", {})
    if method == "initialize":
        info = {"name": "faulty", "version": "1"}
        send({"id": id_, "result": {"protocolVersion": "2025-11-25",
              "capabilities": {"tools": {"listChanged": True}}, "serverInfo": info}})  # fmt: skip
    elif method == "tools/list":
        send({"id": id_, "result": {"tools": tools()}})
    elif method == "tools/call":
        try:
            result = run(id_, params["name"], params.get("arguments", {}))
        except ValueError as error:
            send({"id": id_, "error": {"code": -32602, "message": f"no tool {error}"}})
            return
        if result is not None:
            send({"id": id_, "result": result})
    else:
        send({"id": id_, "error": {"code": -32601, "message": method}})


def main():
    if state().get("dies"):
        print("cannot find the configuration of faulty", file=sys.stderr, flush=True)
        sys.exit(4)
    while line := sys.stdin.readline():
        message = json.loads(line)
        if "method" not in message:
            ANSWERS[message["id"]] = message.get("result", message.get("error"))
        elif "id" in message:
            threading.Thread(target=answer, args=(message,), daemon=True).start()
    os._exit(0)


main()
