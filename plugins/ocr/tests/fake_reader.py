"""An engine for tests: it "reads" the text chunk `says` of a PNG, and dies, waits or fails on order.

It decodes like the real worker does, so that hostile files are refused in the same place.
"""

import io
import os
import signal
import threading

from PIL import Image

from plugway_media.pictures import open_picture
from plugway_media.worker import serve
from plugway_ocr._files import is_pdf
from plugway_ocr._layout import Piece, Reading
from plugway_ocr._pdf import read_pdf


def look(picture):
    """Sees only how large it is."""
    return Reading([[Piece(f"seen: {picture.width} x {picture.height}", 0, 0, 1, 1)]])


def main(channel, config):
    served = 0

    def handle(header, body):
        nonlocal served
        if is_pdf(body):
            yield {"engine": "fake", **read_pdf(body, look, 30)}, b""
            return
        picture = open_picture(body)
        served += 1
        with Image.open(io.BytesIO(body)) as opened:
            says = opened.info.get("says", "")
        if says == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if says.startswith("slow"):
            threading.Event().wait(2.5)  # longer than `prepare_attempt` may take
        lines = [{"text": says, "box": [0, 0, 1, 1], "score": 1.0}]
        yield (
            {
                "engine": "fake",
                "width": picture.width,
                "height": picture.height,
                "text": says,
                "lines": lines if says else [],
                "left_out": 0,
                "served": served,
            },
            b"",
        )

    serve(channel, handle)
