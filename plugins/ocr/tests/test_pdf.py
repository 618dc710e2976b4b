"""PDF files: the text that their pages contain, or what an engine reads in the pictures of them."""

import io
import sys

import pytest
from fake_reader import look
from PIL import Image
from speaking import document, pdf, png

from plugway import InvalidRequest, RequestRejected
from plugway.testing import build_plugin, gateway
from plugway_media.worker import Refused
from plugway_ocr._files import check_file
from plugway_ocr._pdf import MAX_PAGES, read_pdf
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
LINE = "The total is 1,234 euros"


def read(data, seconds=30.0):
    return read_pdf(data, look, seconds)


def scan():
    out = io.BytesIO()
    Image.new("RGB", (1654, 2339), "white").save(out, "PDF", resolution=200)
    return out.getvalue()


def nested(depth):
    """A page with a drawing that contains ten times one that contains ten times one, and so on."""
    forms = [
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length 60 "
        b"/Resources << /XObject << /X %d 0 R >> >> >>\nstream\n%s\nendstream"
        % (number + 7, b"/X Do " * 10)
        for number in range(depth)
    ]
    drawing = b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Length 13 >>\nstream\n0 0 m 9 9 l S\nendstream"
    return pdf(b"/X Do " * 10, more=[*forms, drawing], resources=b"/XObject << /X 6 0 R >>")


def test_the_text_of_each_page_is_read_in_lines():
    found = read(pdf(f"{LINE}\nand so on", LINE))
    assert found["text"] == f"[Page 1]\n{LINE}\nand so on\n[Page 2]\n{LINE}"
    assert (found["pages"], found["left_out"]) == (2, 0)


def test_a_page_without_text_is_looked_at():
    assert read(scan())["text"].startswith("[Page 1]\nseen: 165")


def test_so_is_one_with_little_more_than_a_number():
    assert "seen: " in read(pdf("17"))["text"]


def test_so_is_one_whose_text_is_no_text():
    """A font whose characters have no names, as some programs write them."""
    strange = b"BT /F1 12 Tf 72 720 Td (" + bytes(range(1, 8)) * 10 + b") Tj ET"
    assert "seen: " in read(pdf(strange))["text"]


def test_if_nothing_is_seen_the_text_of_the_page_counts():
    from plugway_ocr._layout import Reading

    assert read_pdf(pdf("17"), lambda picture: Reading([]), 30)["text"] == "[Page 1]\n17"
    assert "no text was found" in read_pdf(scan(), lambda picture: Reading([]), 30)["text"]


def test_of_many_pages_the_first_ones_are_read():
    found = read(pdf(*[LINE] * 1000))
    assert (found["pages"], found["left_out"]) == (1000, 1000 - MAX_PAGES)
    assert found["text"].endswith(f"[Pages {MAX_PAGES + 1} to 1000 were not read]")


def test_and_of_much_text_the_first_part():
    found = read(pdf(*["\n".join([LINE] * 100)] * 100))
    assert 40_000 < len(found["text"]) < 60_000
    assert "\n(the rest of this page was not read)\n[Pages " in found["text"]
    assert found["text"].endswith("to 100 were not read]")


def test_and_in_little_time_few_pages():
    assert read(pdf(LINE, LINE), seconds=-1)["text"] == "[Pages 1 to 2 were not read]"


@pytest.mark.parametrize(
    "size",
    ["0 0 1e9 1e9", "0 0 0 0", "0 0 1 100000", "0 0 nan inf", "0 0 -5 -5", "0 0 14400 14400"],
)
def test_a_page_of_any_size_has_a_picture_within_limits(size):
    text = read(pdf(b"", size=size))["text"].removeprefix("[Page 1]\n")
    if text.startswith("seen: "):
        width, height = map(int, text.removeprefix("seen: ").split(" x "))
        assert width * height < 4_100_000
    else:
        assert text == "(it cannot be read)"


@pytest.mark.parametrize("cut", [9, 60, 150])
def test_a_damaged_file_is_refused(cut):
    with pytest.raises(Refused, match="damaged"):
        read(pdf(LINE)[:cut])


def test_a_file_whose_table_is_wrong_is_read():
    assert LINE in read(pdf(LINE).replace(b"startxref\n", b"startxref\n9"))["text"]


def test_an_encrypted_file_says_that_it_is():
    encrypt = b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (b"00" * 32, b"11" * 32)
    data = pdf(LINE).replace(b"trailer << ", b"trailer << /ID [<00> <00>] /Encrypt " + encrypt)
    with pytest.raises(Refused, match="encrypted: remove its password"):
        read(data)


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory on Linux only")
async def test_a_file_that_needs_too_much_memory_ends_the_worker_and_not_the_machine(make, backend):
    async with gateway([make(), backend]) as running:
        answer = await running.client.post("/v1/ocr", files={"file": nested(12)})
        assert answer.status_code == 503, answer.text
        answer = await running.client.post("/v1/ocr", files={"file": pdf(LINE)})
        assert answer.status_code == 200, answer.text


def test_what_is_no_such_file_is_refused():
    for data in (b"", b"<svg/>", b"PK\3\4", b" " * 2000 + pdf(LINE)):
        with pytest.raises(InvalidRequest):
            check_file(data)
    check_file(b"\n\n" + pdf(LINE))
    check_file(png("%PDF-1.7"))


def test_without_pypdfium2_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setattr("plugway_ocr._files.find_spec", lambda name: None)
    with pytest.raises(RequestRejected, match=r"'./plugins/ocr\[pdf\]'"):
        check_file(pdf(LINE))
    check_file(png("x"))


# In requests


async def sent(running, backend, *blocks, model="up/blind"):
    messages = [{"role": "user", "content": [*blocks, {"type": "text", "text": "How much?"}]}]
    answer = await running.post({"model": model, "max_tokens": 10, "messages": messages})
    assert answer.status_code == 200, answer.text
    return backend.seen[-1].get("messages")[0]["content"]


async def test_a_blind_model_reads_the_text_of_a_document(make, backend):
    async with gateway([make(), build_plugin(Router, "router"), backend]) as running:
        block = document(pdf(LINE), title="bill.pdf", cache_control={"type": "ephemeral"})
        for _ in range(2):  # the second time from memory
            first, _ = await sent(running, backend, block)
            assert first == {
                "type": "text",
                "text": "bill.pdf\n[A PDF file, pages: 1. You cannot open it; this is the text in it:]\n"
                f"[Page 1]\n{LINE}\n[End of the PDF file]",
                "cache_control": {"type": "ephemeral"},
            }


async def test_or_why_it_was_not_read(make, backend):
    async with gateway([make(), build_plugin(Router, "router"), backend]) as running:
        first, _ = await sent(running, backend, document(b"%PDF-1.7 junk"))
    assert first["text"] == (
        "[A file that you cannot see and that could not be read: the PDF file is damaged]"
    )


async def test_other_models_and_other_documents_get_the_same_blocks(make, backend):
    plain = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "x"},
    }
    async with gateway([make(), build_plugin(Router, "router"), backend]) as running:
        assert (await sent(running, backend, plain))[0] == plain
        block = document(pdf(LINE))
        assert (await sent(running, backend, block, model="up/seeing"))[0] == block


async def test_the_endpoint_reads_them(make, backend):
    async with gateway([make(), backend]) as running:
        answer = await running.client.post("/v1/ocr", files={"file": pdf(LINE)})
    assert answer.json()["text"] == f"[Page 1]\n{LINE}"
    assert answer.json()["pages"] == 1
