"""The models that a gateway lists, and one of them for each backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any

from plugway import PlugwayError, as_list, as_object
from plugway_probe._talk import Refused, talking_to

_PREFIX = "anthropic/"


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A model from `GET /v1/models`."""

    id: str
    """The id that a client sends: `anthropic/<instance>/<model>`."""
    display_name: str = ""
    window: int = 0
    """Maximum tokens of a prompt; 0 if unknown."""
    max_output: int = 0
    notice: str = ""
    """What a user should know before the first prompt."""

    @property
    def backend(self) -> str:
        """The instance that serves it; empty if the id has another form."""
        instance, slash, _ = self.id.removeprefix(_PREFIX).partition("/")
        return instance if slash else ""


async def list_models(
    url: str, token: str, *, tls: SSLContext | None = None, seconds: float = 10.0
) -> list[ListedModel]:
    """The models that the gateway lists for clients; `tls` accepts its certificate.

    Raises:
        PlugwayError: no gateway responds, or it refuses; the message names the fix.
    """
    async with talking_to(url, token, seconds, tls) as talk:
        try:
            document = await talk.get("/v1/models?limit=1000")
        except Refused as error:
            raise PlugwayError(f"{error.reason}: {error.fix}") from None
    return [_model(as_object(item)) for item in as_list(as_object(document).get("data"))]


def one_per_backend(models: Sequence[ListedModel]) -> list[ListedModel]:
    """The first model of each backend, in the order of the list."""
    found: dict[str, ListedModel] = {}
    for model in models:
        if model.backend:
            found.setdefault(model.backend, model)
    return list(found.values())


def _model(item: dict[str, Any]) -> ListedModel:
    def number(key: str) -> int:
        value = item.get(key)
        return value if isinstance(value, int) else 0

    name, shown = str(item.get("id", "")), str(item.get("display_name", ""))
    sizes = number("max_input_tokens"), number("max_tokens")
    return ListedModel(name, shown, *sizes, notice=str(item.get("notice", "")))
