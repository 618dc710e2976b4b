"""A scripted Ollama that loads and unloads models.

It follows `docs/api.md` of Ollama ("List Running Models", "Load a model", "Unload a model", "Show
Model Information") and `GenerateHandler`, `EmbedHandler` and `PsHandler` of its `server/routes.go`.
It accepts only documented methods, paths, fields and types.
"""

from __future__ import annotations

import json

from plugway.testing import anthropic_message, respond

GIB = 2**30
FIELDS = {
    ("GET", "/api/ps"): {},
    ("GET", "/api/tags"): {},
    ("POST", "/api/show"): {"model": str},
    ("POST", "/api/generate"): {"model": str, "stream": bool, "keep_alive": int},
    ("POST", "/api/embed"): {"model": str, "input": list},
    ("POST", "/api/create"): {"model": str, "from": str, "parameters": dict, "stream": bool},
    ("POST", "/v1/embeddings"): {"model": str, "input": list},
}
SHAPE = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.context_length": 131_072,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}
"""Llama 3.1 8B, whose cache has 128 KiB a token: 2 x 32 layers x 8 heads x 128 x 2 bytes."""


class OllamaServer:
    """Models on disk and in memory."""

    def __init__(self):
        self.disk = {}
        self.memory = {}
        self.wrong = []
        self.deaf = False
        self.generate = None
        """Answers `/api/generate` instead."""
        self.stream = None

    def have(self, name, size=4 * GIB, shape=SHAPE, able=("completion", "tools"), parameters=""):
        shown = {"model_info": shape, "capabilities": list(able), "parameters": parameters}
        self.disk[name] = ({"name": name, "model": name, "size": size, "digest": name}, shown)

    def hold(self, name, size=5 * GIB, vram=0, context=4096, **other):
        entry = {"name": name, "model": name, "size": size, "size_vram": vram}
        entry["expires_at"] = "2026-11-29T14:38:31.83753-07:00"
        self.memory[name] = {**entry, "context_length": context, **other}

    def __call__(self, request):
        place = (request.method, request.path)
        body = json.loads(request.body) if request.body else {}
        if place == ("POST", "/v1/messages"):
            whole = respond(200, anthropic_message("Hello.", model=body["model"]))
            return self.stream if body.get("stream") else whole
        fields = FIELDS.get(place)
        if fields is None or any(type(value) is not fields.get(key) for key, value in body.items()):
            self.wrong.append((place, body))
            return respond(404, b"404 page not found", {"content-type": "text/plain"})
        return getattr(self, f"on_{request.path.rpartition('/')[2]}")(body)

    def on_ps(self, _):
        return respond(200, {"models": list(self.memory.values())})

    def on_tags(self, _):
        return respond(200, {"models": [entry for entry, _ in self.disk.values()]})

    def on_show(self, body):
        found = self.find(body)
        return respond(200, found[1]) if found else self.missing(body)

    def on_create(self, body):
        _, shown = self.find({"model": body["from"]})
        window = body["parameters"]["num_ctx"]
        self.have(body["model"], shape=shown["model_info"], parameters=f"num_ctx {window}")
        return respond(200, {"status": "success"})

    def on_generate(self, body):
        found = self.find(body)
        if self.generate:
            return self.generate
        if found is None:
            return self.missing(body)
        name = found[0]["name"]
        if body.get("keep_alive") == 0:
            if not self.deaf:
                self.memory.pop(name, None)
            return respond(200, {"model": body["model"], "done": True, "done_reason": "unload"})
        if "completion" not in found[1]["capabilities"]:
            return respond(400, {"error": f'"{body["model"]}" does not support generate'})
        self.hold(name)
        return respond(200, {"model": body["model"], "done": True, "done_reason": "load"})

    def on_embed(self, body):
        self.hold(self.find(body)[0]["name"])
        return respond(200, {"model": body["model"], "embeddings": []})

    def on_embeddings(self, body):
        data = [{"index": at, "embedding": [1.0]} for at in range(len(body["input"]))]
        return respond(200, {"object": "list", "data": data})

    def find(self, body):
        name = body["model"].lower()
        name = name if ":" in name.rpartition("/")[2] else f"{name}:latest"
        return next((found for key, found in self.disk.items() if key.lower() == name), None)

    def missing(self, body):
        return respond(404, {"error": f"model '{body['model']}' not found"})
