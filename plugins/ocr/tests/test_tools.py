"""The tools: files in the configured folders, and the screen by another plugin's tool."""

import base64

import pytest
from speaking import png

from plugway import Exchange, MessagesRequest, NoOptions, Plugin, hookimpl
from plugway.testing import gateway
from plugway_tools import HoldsTools, ToolCall, ToolResult, ToolSpec, failed

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def call_of(name, roots=(), **arguments):
    return ToolCall("c1", name, arguments, Exchange(MessagesRequest(b"{}")), tuple(roots))


class Camera(Plugin[NoOptions]):
    """Takes a picture of the screen, as `system-tools` does; or fails."""

    result = None

    @hookimpl
    def register_routes(self):
        return []

    async def tools(self):
        return [ToolSpec("system_screenshot", "", {"type": "object"}, "read")]

    async def run_tool(self, call):
        assert call.name == "system_screenshot"
        return self.result


async def test_a_file_in_a_folder_is_read(make, backend, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(png("found"))
    (tmp_path / "out.png").write_bytes(png("secret"))
    (tmp_path / "in/link.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "in/page.html").write_text("<p>")
    plugin = make(folders=[str(tmp_path / "in")])
    assert isinstance(plugin, HoldsTools)
    async with gateway([plugin, backend]):
        assert [spec.name for spec in await plugin.tools()] == ["ocr_image"]
        for path in (tmp_path / "in/a.png", "a.png"):
            assert "found" in (await plugin.run_tool(call_of("ocr_image", path=str(path)))).text
        for path, reason in (
            (tmp_path / "out.png", "not in a folder"),
            (tmp_path / "in/../out.png", "not in a folder"),
            (tmp_path / "in/link.png", "not in a folder"),
            (tmp_path / "in/none.png", "no such file"),
            (tmp_path / "in", "no such file"),
            (tmp_path / "in/page.html", "not a PNG"),
        ):
            result = await plugin.run_tool(call_of("ocr_image", path=str(path)))
            assert result.is_error
            assert reason in result.text


async def test_the_folders_of_a_call_narrow_those_of_the_configuration(make, backend, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(png(name))
    plugin = make(folders=[str(tmp_path)])
    async with gateway([plugin, backend]):
        for roots, path, good in (
            ([tmp_path / "a"], "a/x.png", True),
            ([tmp_path / "a"], "b/x.png", False),
            ([tmp_path.parent], "b/x.png", True),
            ([tmp_path.parent / "other"], "a/x.png", False),
        ):
            call = call_of("ocr_image", roots, path=str(tmp_path / path))
            assert (await plugin.run_tool(call)).is_error is not good


async def test_without_folders_and_screenshots_there_is_no_tool(make, backend):
    plugin = make()
    async with gateway([plugin, backend]):
        assert await plugin.tools() == []
        for name in ("ocr_image", "ocr_screen", "rm"):
            result = await plugin.run_tool(call_of(name))
            assert result.is_error
            assert "unknown or off; tools that are on: none" in result.text


async def test_wrong_arguments_are_a_result(make, backend, tmp_path):
    plugin = make(folders=[str(tmp_path)])
    async with gateway([plugin, backend]):
        for arguments in ({}, {"path": 1}, {"path": "a", "more": 1}):
            result = await plugin.run_tool(call_of("ocr_image", **arguments))
            assert "invalid arguments" in result.text


async def test_the_screen_is_read_if_a_plugin_takes_pictures_of_it(make, backend):
    plugin, camera = make(), Camera(NoOptions(), name="system-tools")
    source = {
        "type": "base64",
        "media_type": "image/png",
        "data": base64.b64encode(png("on the screen")).decode(),
    }
    async with gateway([plugin, camera, backend]):
        [spec] = await plugin.tools()
        assert (spec.name, spec.outside) == ("ocr_screen", True)
        camera.result = ToolResult(({"type": "image", "source": source},))
        result = await plugin.run_tool(call_of("ocr_screen"))
        assert "on the screen" in result.text
        camera.result = failed("no desktop")
        result = await plugin.run_tool(call_of("ocr_screen"))
        assert result.is_error
        assert "no desktop" in result.text
