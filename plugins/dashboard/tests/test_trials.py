"""`GET /dashboard/trials`: what a caller can try, by what plugins declare."""

import pytest

from plugway import NoOptions, Plugin
from plugway.testing import build_plugin, gateway
from plugway_dashboard import Dashboard
from plugway_echo import Echo
from plugway_endpoints import Trial
from plugway_ocr import Ocr
from plugway_speech_to_text import SpeechToText
from plugway_text_to_speech import TextToSpeech
from plugway_upscale import Upscale

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
PHONE = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]


class Offers(Plugin[NoOptions]):
    """Offers what it is given; raises it if it is an error."""

    def __init__(self, trials, *, name="offers"):
        super().__init__(NoOptions(), name=name)
        self._trials = trials

    def trials(self):
        if isinstance(self._trials, Exception):
            raise self._trials
        return self._trials


def stack(*plugins):
    return [build_plugin(Dashboard, "dashboard"), build_plugin(Echo, "echo"), *plugins]


async def trials(running, **headers):
    answer = await running.client.get("/dashboard/trials", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["trials"]


async def test_without_such_plugins_there_is_nothing_to_try():
    async with gateway(stack()) as running:
        assert await trials(running) == []


async def test_limited_callers_see_what_they_may_use(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    plugins = [
        build_plugin(Ocr, "ocr"),
        build_plugin(SpeechToText, "speech-to-text", limited_callers=False),
        build_plugin(TextToSpeech, "text-to-speech", max_characters=99),
        build_plugin(Upscale, "upscale", model="photo"),
    ]
    async with gateway(stack(*plugins), tokens=PHONE) as running:
        all_ = {one["kind"]: one for one in await trials(running)}
        assert list(all_) == ["read", "hear", "speak", "enlarge"]
        assert all_["enlarge"]["choices"]["model"][0] == "photo"
        assert all_["speak"]["max_size"] == 99
        paths = {route.path for p in plugins for route in p.register_routes()}
        used = [one[name] for one in all_.values() for name in ("path", "voices") if one[name]]
        assert set(used) <= paths
        found = await trials(running, authorization="Bearer phone-token")
        assert [one["kind"] for one in found] == ["read", "speak"]


async def test_the_first_plugin_of_a_kind_is_shown_and_one_that_fails_is_left_out():
    one = Trial("read", "/one", True, 1, "`engine` is missing")
    plugins = [
        Offers(RuntimeError("broken"), name="a"),
        Offers([one], name="b"),
        Offers([one._replace(path="/two")], name="c"),
    ]
    async with gateway(stack(*plugins)) as running:
        found = await trials(running)
        assert [(one["path"], one["problem"]) for one in found] == [("/one", "`engine` is missing")]
