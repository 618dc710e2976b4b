"""An engine for tests of the supervisor: does what each request's body tells it to."""

import os
import signal
import sys
import threading

import orjson

from plugway_local_engine._worker import EngineFailed, LoadFailed


def main(channel, config):
    if config.get("refuse"):
        raise LoadFailed(config["refuse"])
    channel.send({"op": "ready", "environment": sorted(os.environ), "pid": os.getpid()})
    open_calls = {}
    stopped = False
    while not stopped:
        for frame in channel.receive(0.01):
            stopped |= frame.header.get("op") == "stop"
            take(channel, frame, open_calls)
        if "beatless" not in open_calls.values():
            channel.beat()


def take(channel, frame, open_calls):
    op, number = frame.header.get("op"), frame.header.get("id")
    if op == "cancel" and open_calls.pop(number, None) != "stubborn":
        channel.send({"id": number, "end": True})
    elif op == "do":
        todo = orjson.loads(frame.body)
        open_calls[number] = todo["what"]
        if (act := ACTS.get(todo["what"])) is not None:
            act(channel, number, todo)
    elif op in ("pause", "resume"):
        channel.send({"id": number, "told": op})


def echo(channel, number, todo):
    for piece in todo["pieces"]:
        channel.send({"id": number, "piece": piece})
    channel.send({"id": number, "end": True}, orjson.dumps(todo))


def many(channel, number, todo):
    channel.send_all({"id": number, "piece": n} for n in range(todo["count"]))


def connect(channel, number, todo):
    import socket

    try:
        socket.create_connection(("127.0.0.1", todo["port"]), timeout=5).close()
        said = "connected"
    except OSError as error:
        said = error.strerror
    channel.send({"id": number, "end": True, "said": said})


def die(channel, number, todo):
    for piece in todo.get("pieces", ()):
        channel.send({"id": number, "piece": piece})
    os.kill(os.getpid(), signal.SIGKILL)


def fail(channel, number, todo):
    raise EngineFailed("as told")


def burst(channel, number, todo):
    raise RuntimeError(todo["text"])


def noise(channel, number, todo):
    print("noise on stdout", flush=True)
    channel.send({"id": number, "end": True})


def abort(channel, number, todo):
    print(todo["text"], file=sys.stderr, flush=True)
    os.abort()


def babble(channel, number, todo):
    os.write(channel._writer, b"\xff" * 64)


def freeze(channel, number, todo):
    threading.Event().wait(60)


ACTS = {
    "echo": echo,
    "many": many,
    "connect": connect,
    "die": die,
    "fail": fail,
    "raise": burst,
    "print": noise,
    "abort": abort,
    "babble": babble,
    "freeze": freeze,
}
