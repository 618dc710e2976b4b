"""The tool: files in the configured folders, and a new file beside them."""

import pytest
from pictures import file_of, noise, opened, repeated

from plugway import Exchange, MessagesRequest
from plugway.testing import gateway
from plugway_tools import HoldsTools, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
PICTURE = noise()


def call_of(name="upscale_image", roots=(), **arguments):
    return ToolCall("c1", name, arguments, Exchange(MessagesRequest(b"{}")), tuple(roots))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.png").write_bytes(file_of(PICTURE))
    (tmp_path / "in/page.html").write_text("<p>")
    (tmp_path / "out.png").write_bytes(file_of(PICTURE))
    (tmp_path / "in/link.png").symlink_to(tmp_path / "out.png")
    return tmp_path / "in"


async def test_a_picture_is_enlarged_beside_the_file(make, backend, folder):
    plugin = make(folders=[str(folder)])
    async with gateway([plugin, backend]):
        assert isinstance(plugin, HoldsTools)
        [spec] = await plugin.tools()
        assert (spec.name, spec.effect) == ("upscale_image", "write")
        result = await plugin.run_tool(call_of(path="a.png", scale=4))
        assert not result.is_error, result.text
        assert "120 x 80" in result.text
        made = opened((folder / "a-4x.png").read_bytes())
        assert made.tobytes() == repeated(PICTURE, 4).tobytes()


async def test_no_file_is_overwritten(make, backend, folder):
    (folder / "a-2x.png").write_text("mine")
    (folder / "a-3x.png").symlink_to(folder / "none")
    plugin = make(folders=[str(folder)])
    async with gateway([plugin, backend]):
        for scale in (2, 3):
            result = await plugin.run_tool(call_of(path="a.png", scale=scale))
            assert result.is_error
            assert "exists already" in result.text
    assert (folder / "a-2x.png").read_text() == "mine"
    assert not (folder / "none").exists()


async def test_other_files_and_arguments_are_refused_with_the_reason(make, backend, folder):
    before = sorted(folder.parent.rglob("*.png"))
    plugin = make(folders=[str(folder)])
    async with gateway([plugin, backend]):
        for arguments, reason in (
            ({"path": str(folder.parent / "out.png")}, "not in a folder"),
            ({"path": str(folder / "../out.png")}, "not in a folder"),
            ({"path": str(folder / "link.png")}, "not in a folder"),
            ({"path": "none.png"}, "not in a folder"),
            ({"path": str(folder / "none.png")}, "no such file"),
            ({"path": "page.html"}, "not a PNG"),
            ({"path": "a.png", "scale": 9}, "invalid arguments: scale"),
            ({}, "invalid arguments: path"),
        ):
            result = await plugin.run_tool(call_of(**arguments))
            assert result.is_error
            assert reason in result.text
        result = await plugin.run_tool(call_of(roots=[folder.parent / "else"], path="a.png"))
        assert "not in a folder" in result.text
    assert sorted(folder.parent.rglob("*.png")) == before


async def test_without_folders_there_is_no_tool(make, backend):
    plugin = make()
    async with gateway([plugin, backend]):
        assert await plugin.tools() == []
        result = await plugin.run_tool(call_of(path="a.png"))
        assert "unknown or off; tools that are on: none" in result.text
