"""Pictures in which the fake engine finds given words."""

import base64
import io
import os

from PIL import Image, PngImagePlugin


def png(says, size=(40, 20), noise=False):
    """A picture in which the fake engine finds these words."""
    info = PngImagePlugin.PngInfo()
    info.add_text("says", says)
    out = io.BytesIO()
    picture = Image.new("RGB", size, "white")
    if noise:  # which no compression makes small
        picture = Image.frombytes("RGB", size, os.urandom(3 * size[0] * size[1]))
    picture.save(out, "PNG", pnginfo=info, compress_level=0 if noise else 6)
    return out.getvalue()


def block(says, **more):
    """The same as a block of the Messages API."""
    data = base64.b64encode(says if isinstance(says, bytes) else png(says)).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return {"type": "image", "source": source, **more}
