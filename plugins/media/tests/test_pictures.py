"""Pictures of unknown origin are decoded within limits, or refused with the reason."""

import io
import struct
import zlib

import pytest
from PIL import Image, ImageDraw, PngImagePlugin

from plugway_media.pictures import MAX_PIXELS, open_picture
from plugway_media.worker import Refused


def saved(picture, format="PNG", **more):
    out = io.BytesIO()
    picture.save(out, format, **more)
    return out.getvalue()


def drawn(mode="RGB", size=(60, 40)):
    picture = Image.new(mode, size)
    ImageDraw.Draw(picture).rectangle((10, 10, 30, 20), fill="white" if mode == "RGB" else 1)
    return picture


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, data=b"", more=b""):
    """A PNG file that claims a size, whatever `data` has."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(data, 9))
    return b"\x89PNG\r\n\x1a\n" + head + more + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_common_formats_and_modes_become_rgb(format, mode):
    if (format, mode) == ("JPEG", "P"):
        pytest.skip("JPEG has no palette")
    found = open_picture(saved(drawn().convert(mode), format))
    assert (found.mode, found.size) == ("RGB", (60, 40))
    assert found.getpixel((20, 15))[0] > 240
    assert found.getpixel((50, 30))[0] < 15


def test_what_is_transparent_becomes_white():
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert open_picture(saved(picture)).getpixel((5, 5)) == (255, 255, 255)


def test_sixteen_bits_become_eight():
    picture = Image.new("I;16", (20, 20), 0x8000)
    assert abs(open_picture(saved(picture)).getpixel((5, 5))[0] - 128) <= 1


def test_a_photo_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_picture(saved(drawn(), "JPEG", exif=exif)).size == (40, 60)


def test_a_photo_with_a_second_picture_is_the_first_one():
    depth = Image.new("RGB", (30, 20), "red")
    found = open_picture(saved(drawn(), "MPO", save_all=True, append_images=[depth]))
    assert found.size == (60, 40)
    assert found.getpixel((20, 15))[0] > 240


FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (60, 40), "red")]}
TEXT = PngImagePlugin.PngInfo()
TEXT.add_text("comment", "x" * 80_000_000, zip=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(saved(drawn())[:-40], "cannot be decoded", id="cut off"),
        pytest.param(
            saved(drawn(size=(600, 400)), "JPEG")[:900], "cannot be decoded", id="cut JPEG"
        ),
        pytest.param(b"\x89PNG\r\n\x1a\n", "cannot be decoded", id="only a signature"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\xff" * 5000, "cannot be decoded", id="noise"),
        pytest.param(b"GIF89a" + saved(drawn()), "cannot be decoded", id="PNG as GIF"),
        pytest.param(b"\xff\xd8\xff" + b"%!PS-Adobe-3.0 EPSF-3.0", "cannot be decoded", id="PS"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a PNG", id="PostScript"),
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a PNG", id="SVG"),
        pytest.param(saved(drawn(), "BMP"), "not a PNG", id="BMP"),
        pytest.param(saved(drawn(), "TIFF"), "not a PNG", id="TIFF"),
        pytest.param(b"", "not a PNG", id="empty"),
        pytest.param(png(1, 1_000_000), "20,000 on a side", id="a line"),
        pytest.param(png(10_000, 40), "a line of", id="a flat line"),
        pytest.param(png(20_001, 200), "more than", id="too wide"),
        pytest.param(png(60_000, 60_000, bytes(10_000_000)), "more than", id="bomb"),
        pytest.param(png(5_000, 4_001, bytes(1 << 20)), "more than", id="just too large"),
        pytest.param(png(2**31 - 1, 2**31 - 1), "more than", id="largest header"),
        pytest.param(png(4_000, 4_000, bytes(100)), "cannot be decoded", id="too little data"),
        pytest.param(saved(drawn(), "GIF", **FRAMES), "animated", id="animated GIF"),
        pytest.param(saved(drawn(), "WEBP", **FRAMES), "animated", id="animated WebP"),
        pytest.param(saved(drawn(), "PNG", **FRAMES), "animated", id="animated PNG"),
        pytest.param(saved(drawn(), pnginfo=TEXT), "cannot be decoded", id="metadata bomb"),
    ],
)
def test_hostile_files_are_refused_with_the_reason(data, reason):
    assert len(data) < 1 << 20
    with pytest.raises(Refused, match=reason):
        open_picture(data)


def test_the_largest_picture_is_decoded():
    assert open_picture(saved(Image.new("L", (5_000, 4_000)))).size == (5_000, 4_000)
    assert MAX_PIXELS == 5_000 * 4_000


def test_what_follows_a_picture_is_ignored():
    found = open_picture(saved(drawn()) + b"PK\x03\x04<script>alert(1)</script>")
    assert found.size == (60, 40)
