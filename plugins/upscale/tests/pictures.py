"""Pictures for tests."""

import base64
import io
import os
import warnings

from PIL import Image


def noise(size=(30, 20)):
    """A picture in which each pixel differs from its neighbours."""
    return Image.frombytes("RGB", size, os.urandom(3 * size[0] * size[1]))


def plain(colour, size=(30, 20)):
    """A picture of one colour."""
    return Image.new("RGB", size, colour)


def file_of(picture, kind="PNG", **more):
    """Its file."""
    out = io.BytesIO()
    picture.save(out, kind, **more)
    return out.getvalue()


def base64_of(picture):
    """Its file in base64."""
    return base64.b64encode(file_of(picture)).decode()


def opened(data):
    """A picture from a file, or from the base64 of one."""
    data = base64.b64decode(data) if isinstance(data, str) else data
    with warnings.catch_warnings():  # tests of other plugins may have set a lower limit
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(data))


def repeated(picture, scale):
    """What the fake engine makes of a picture."""
    return picture.resize((picture.width * scale, picture.height * scale), 0)
