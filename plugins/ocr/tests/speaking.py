"""Pictures in which the fake engine finds given words."""

import base64
import io

from PIL import Image, PngImagePlugin


def png(says, size=(40, 20)):
    """A picture in which the fake engine finds these words."""
    info = PngImagePlugin.PngInfo()
    info.add_text("says", says)
    out = io.BytesIO()
    Image.new("RGB", size, "white").save(out, "PNG", pnginfo=info)
    return out.getvalue()


def block(says, **more):
    """The same as a block of the Messages API."""
    data = base64.b64encode(says if isinstance(says, bytes) else png(says)).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    return {"type": "image", "source": source, **more}
