"""What the contract finds in a plugin, and what a test is shown of the gateway's reply."""

from __future__ import annotations

import httpx2
import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import FeatureContract, PlainBackend, build_plugin, gateway

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class Sets(Plugin[NoOptions]):
    @hookimpl
    def transform_request(self, request):
        request.body["model"] = "mine"


class AppendsInside(Plugin[NoOptions]):
    @hookimpl
    def prepare_attempt(self, request):
        request.body["messages"][0]["content"] += "!"


class Replaces(Plugin[NoOptions]):
    @hookimpl
    def transform_request(self, request):
        return request.replace(temperature=0, because="it is a test")


class Refuses(Plugin[NoOptions]):
    @hookimpl
    def transform_request(self, request):
        raise SystemExit


def contract_of(kind):
    made = FeatureContract()
    made.plugin = kind
    return made


@pytest.mark.parametrize("kind", [Sets, AppendsInside])
async def test_an_edit_in_place_is_found(kind):
    with pytest.raises(AssertionError, match=r"use `request\.replace`"):
        await contract_of(kind).test_it_edits_no_request_in_place()


async def test_a_replaced_request_is_no_edit_in_place():
    await contract_of(Replaces).test_it_edits_no_request_in_place()


@pytest.mark.parametrize("way", ["ask", "stream"])
async def test_an_error_of_the_gateway_is_shown_in_its_words(way):
    stack = [build_plugin(Refuses, "refuses"), build_plugin(PlainBackend, "plain")]
    async with gateway(stack) as running:
        with pytest.raises(httpx2.HTTPStatusError, match="plugin `refuses`, hook") as caught:
            await getattr(running, way)("hello")
    assert caught.value.response.status_code == 500
