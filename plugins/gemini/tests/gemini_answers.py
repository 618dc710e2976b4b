"""Answers of the Gemini API in the shapes that https://ai.google.dev/api documents."""

import json

from plugway.testing import respond

USAGE = {
    "promptTokenCount": 120,
    "cachedContentTokenCount": 100,
    "candidatesTokenCount": 7,
    "thoughtsTokenCount": 30,
    "totalTokenCount": 157,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 120}],
}
SIGNATURE = "CrICAdHtim827fQ+/w=="


def text(words, **more):
    return {"text": words, **more}


def thought(words, **more):
    return {"text": words, "thought": True, **more}


def call(name, args=None, id_=None, **more):
    found = {"name": name, "args": {} if args is None else args}
    if id_ is not None:
        found["id"] = id_
    return {"functionCall": found, **more}


def piece(*parts, finish=None, usage=None, **more):
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    candidate.update(more)
    return {
        "candidates": [candidate],
        "usageMetadata": usage or {"promptTokenCount": 120, "cachedContentTokenCount": 100},
        "modelVersion": "gemini-3-pro",
        "responseId": "Wk6aaZ",
    }


def blocked(reason="SAFETY"):
    return {
        "promptFeedback": {"blockReason": reason, "safetyRatings": []},
        "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 12},
        "modelVersion": "gemini-3-pro",
    }


def sse(*pieces):
    """Google ends lines with CR LF."""
    return b"".join(b"data: %b\r\n\r\n" % json.dumps(item).encode() for item in pieces)


def stream(*pieces):
    return respond(200, sse(*pieces), {"content-type": "text/event-stream"})


def whole(answer):
    return respond(200, answer, {"content-type": "application/json; charset=UTF-8"})


def answered(request, *pieces):
    """The pieces as a stream, or their parts in one answer, as was asked."""
    if ":stream" in request.path:
        return stream(*pieces)
    parts = [
        part for p in pieces for c in p.get("candidates", []) for part in c["content"]["parts"]
    ]
    last = json.loads(json.dumps(pieces[-1]))
    if "candidates" in last:
        last["candidates"][0]["content"]["parts"] = parts
    return whole(last)


def refused(status, message, state="INVALID_ARGUMENT", details=()):
    error = {"code": status, "message": message, "status": state, "details": list(details)}
    return respond(status, {"error": error})


class Server:
    """Answers with one scripted answer after another; the last one again and again."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self, request):
        if ":countTokens" in request.path:
            return respond(200, {"totalTokens": 42, "promptTokensDetails": []})
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answered(request, *answer) if isinstance(answer, tuple) else answer


def hello():
    return (piece(text("Hel")), piece(text("lo"), finish="STOP", usage=USAGE))


class Google:
    """Answers requests for content with what is to come next: pieces, or a whole response. Lists no
    models, counts 42 tokens."""

    def __init__(self):
        self.next = []

    def __call__(self, request):
        if request.method == "GET":
            return respond(200, {"models": []})
        if ":countTokens" in request.path:
            details = [{"modality": "TEXT", "tokenCount": 42}]
            return respond(200, {"totalTokens": 42, "promptTokensDetails": details})
        answer = self.next.pop(0)
        return answered(request, *answer) if isinstance(answer, tuple) else answer
