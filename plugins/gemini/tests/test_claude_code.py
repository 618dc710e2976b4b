"""The real Claude Code on Gemini: parallel tool calls with thought signatures, through the stack as
it is shipped."""

import json

import pytest
from gemini_answers import SIGNATURE, USAGE, answered, call, piece, refused, text, thought

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_gemini import Gemini
from plugway_router import Router
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(120)]


def worker(project, *before):
    """Calls Write twice at once, and talks when the results are there."""
    files = {name: str(project / name) for name in ("a.txt", "b.txt")}

    def says(request):
        if "enerateContent" not in request.path:
            return refused(404, "not here", "NOT_FOUND")
        if "functionResponse" in json.dumps(request.json["contents"][-1]):
            return answered(request, piece(text("Both are "), text("written."), finish="STOP"))
        if "tools" not in request.json:
            return answered(request, piece(text("A title"), finish="STOP"))
        calls = [
            call("Write", {"file_path": path, "content": name}, f"fc.{name}")
            for name, path in files.items()
        ]
        calls[0]["thoughtSignature"] = SIGNATURE
        return answered(request, piece(*before), piece(*calls, finish="STOP", usage=USAGE))

    return says


@pytest.mark.parametrize(
    "before",
    [
        pytest.param([thought("Two files.")], id="thinking carries it"),
        pytest.param([], id="a block of its own carries it", marks=pytest.mark.slow),
    ],
)
async def test_claude_code_runs_parallel_calls_and_gives_the_signature_back(tmp_path, before):
    async with ScriptedUpstream(otherwise=worker(tmp_path / "project", *before)) as google:
        stack = [plugin for plugin in shipped() if not isinstance(plugin, Router)]
        stack += [
            build_plugin(Router, "router", models={"*": ["g/gemini-3-pro"]}),
            build_plugin(Gemini, "g", base_url=google.url, api_key="k"),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anything")
            answer = await claude.run("-p", "write", "--permission-mode", "acceptEdits")
    assert answer.code == 0, answer.out + answer.err
    assert "Both are written." in answer.out
    written = {path.name: path.read_text() for path in claude.project.glob("*.txt")}
    assert written == {"a.txt": "a.txt", "b.txt": "b.txt"}
    asked = [r for r in google.requests if "enerateContent" in r.path]
    last = asked[-1].json["contents"]
    parts = [part for content in last for part in content["parts"]]
    calls = [part for part in parts if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in calls] == [SIGNATURE, None]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert [result["id"] for result in results] == ["fc.a.txt", "fc.b.txt"]
    first = next(r for r in asked if "tools" in r.json).json
    assert len(first["tools"][0]["functionDeclarations"]) > 5
    assert "$schema" not in json.dumps(first["tools"])
