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


def pdf(*pages, size="0 0 595 842", resources=b"", more=()):
    """A PDF file whose pages contain these words, or these bytes of a content stream."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>",
    ]
    kids = []
    for page in pages:
        if isinstance(page, str):
            lines = page.encode("latin-1").split(b"\n")
            shown = b" T* ".join(b"(%s) Tj" % line for line in lines)
            page = b"BT /F1 12 Tf 14 TL 72 720 Td " + shown + b" ET"
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(page), page))
        box = size.encode()
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [%s] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> %s >> >>" % (box, len(objects), resources)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
    objects += more
    out, places = b"%PDF-1.7\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    tail = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        len(out),
    )
    return out + head + table + tail


def document(data, **more):
    """A `document` block, as Claude Code sends one for a PDF file that it has read."""
    source = {
        "type": "base64",
        "media_type": "application/pdf",
        "data": base64.b64encode(data).decode(),
    }
    return {"type": "document", "source": source, **more}
