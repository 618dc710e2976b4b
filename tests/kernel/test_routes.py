"""Ids that name their backend, as the kernel reads them where no plugin decides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from plugway.exchange.pipeline import Limits, Pipeline
from plugway.plugins.hooks import Hooks
from plugway_wire.errors import NoRoute


def pipeline(*names: str) -> Pipeline:
    backends: dict[str, Any] = {name: SimpleNamespace(name=name, zone="local") for name in names}
    return Pipeline(Hooks([]), backends, Limits())


@pytest.mark.parametrize(
    ("model", "target"),
    [
        ("anthropic/ollama/qwen3:8b", ("ollama", "qwen3:8b")),
        ("ollama/qwen3:8b", ("ollama", "qwen3:8b")),
        ("ollama/org/model", ("ollama", "org/model")),
        ("anthropic/ollama/org/model", ("ollama", "org/model")),
        ("anthropic/anthropic/claude", ("anthropic", "claude")),
        ("anthropic/claude", ("anthropic", "claude")),
    ],
)
def test_an_id_names_its_backend_with_and_without_the_prefix(model, target):
    route = pipeline("anthropic", "ollama").direct_route(model)
    assert route.targets == (target,)


@pytest.mark.parametrize("model", ["anthropic/ollama/qwen", "anthropic/ollama/org/model"])
@pytest.mark.parametrize("left", [("anthropic",), ("cloud",), ("anthropic", "cloud")])
def test_an_id_whose_backend_is_gone_goes_nowhere_else(model, left):
    with pytest.raises(NoRoute, match=f"^model: {model}. No backend serves it"):
        pipeline(*left).direct_route(model)


def test_any_other_id_goes_to_the_only_backend():
    route = pipeline("only").direct_route("openrouter/some/model")
    assert route.targets == (("only", "openrouter/some/model"),)


def test_the_refusal_says_what_exists_and_what_is_close():
    with pytest.raises(NoRoute) as caught:
        pipeline("ollama", "cloud").direct_route("anthropic/olama/qwen")
    assert caught.value.message == (
        "model: anthropic/olama/qwen. No backend serves it; did you mean `ollama`? write "
        "`anthropic/<backend>/<model>` with one of `ollama`, `cloud`, or add the `router` plugin"
    )
    assert ("x-should-retry", "false") in caught.value.headers
