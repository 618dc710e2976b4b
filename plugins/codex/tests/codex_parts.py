"""Logins as the command writes them, and a stand-in for the command."""

import base64
import json
import sys
import time

from responses_answers import message, reasoning, response, stream

from plugway.testing import sse

__all__ = [
    "COMMAND",
    "command_at",
    "login",
    "message",
    "number_in",
    "reasoning",
    "response",
    "streamed",
    "token",
]


def token(number, seconds=3600.0):
    """An access token that ends in so many seconds; it is signed by nobody."""
    claims = {"n": f"canary-{number}", "exp": int(time.time() + seconds)}
    claims["email"] = "canary@example.com"
    claims["https://api.openai.com/auth"] = {
        "chatgpt_account_id": "acct-1",
        "chatgpt_plan_type": "plus",
        "chatgpt_user_id": "user-1",
    }
    parts = ({"alg": "none"}, claims)
    return ".".join([*(_encoded(part) for part in parts), "c2ln"])


def number_in(authorization):
    """The number of the token in a header line."""
    claims = authorization.split(".")[1]
    padded = claims + "=" * (-len(claims) % 4)
    return int(json.loads(base64.urlsafe_b64decode(padded))["n"].removeprefix("canary-"))


def _encoded(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def login(home, number=1, seconds=3600.0, **more):
    """Write the file as `codex login` leaves it."""
    access = token(number, seconds)
    tokens = {
        "id_token": token("id", seconds),
        "access_token": access,
        "refresh_token": "canary-refresh",
        "account_id": "acct-1",
    }
    whole = {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens}
    home.mkdir(exist_ok=True)
    file = home / "auth.json"
    file.write_text(json.dumps({**whole, "last_refresh": "2026-01-01T00:00:00Z", **more}))
    file.chmod(0o600)
    return access


def streamed(answer):
    return sse([(data["type"], data) for data in stream(answer)])


COMMAND = """#!{python}
import json, os, sys, time
sys.path += {path!r}
from pathlib import Path
home = Path(os.environ["CODEX_HOME"])
(home / "environment").write_text(json.dumps(dict(os.environ)))
(home / "process").write_text(str(os.getpid()))
with open(home / "asked", "a") as asked:
    asked.write("x")
assert sys.argv[1:] == ["app-server"]
for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "initialize":
        assert message["params"]["clientInfo"]["name"] == "plugway"
        print(json.dumps({{"method": "warning", "params": {{}}}}))
        print(json.dumps({{"id": 0, "result": {{}}}}), flush=True)
    elif message["method"] != "initialized":
        {answer}
"""
RENEW = """
        import codex_parts
        codex_parts.login(home, 2)
        print(json.dumps({"id": 1, "result": {"account": {"email": "canary-mail"}}}), flush=True)
"""
REFUSE = """
        print(json.dumps({"id": 1, "error": {"code": -1, "message": "signed out"}}), flush=True)
"""
HANG = """
        time.sleep(60)
"""
DIE = """
        sys.exit(1)
"""
MODELS = """
        models = [
            {"model": "gpt-a", "displayName": "GPT A", "inputModalities": ["text", "image"]},
            {"model": "gpt-b", "inputModalities": ["text"]},
            {"odd": 1},
        ]
        print(json.dumps({"id": 1, "result": {"data": models, "nextCursor": None}}), flush=True)
"""


def command_at(folder, answer=RENEW):
    """A command that answers so; its path."""
    file = folder / "codex-stand-in"
    names = {"python": sys.executable, "path": sys.path, "answer": answer.strip()}
    file.write_text(COMMAND.format(**names))
    file.chmod(0o755)
    return str(file)
