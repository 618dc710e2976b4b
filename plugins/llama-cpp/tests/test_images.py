"""Images through llama.cpp's multimodal library, with random projectors of two kinds."""

import base64
import struct

import anyio
import pytest
import tiny_gguf
import tiny_mmproj

from conftest import computed, reused, text_of
from plugway import BackendUnavailable
from tests.slow import quick_first

pytestmark = pytest.mark.anyio
KINDS = pytest.mark.parametrize("kind", quick_first(["gemma3", "qwen2vl"], 1))
WORDS = "Look closely at what it shows, and then say what it is. " * 12


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """Pairs of a model and its projector. The second has positions in two dimensions."""
    folder = tmp_path_factory.mktemp("seeing")
    return {
        kind: (
            tiny_gguf.write(folder / f"{kind}.gguf", kind),
            tiny_mmproj.write(folder / f"mmproj-{kind}.gguf", projector),
        )
        for kind, projector in (("gemma3", "gemma3"), ("qwen2vl", "qwen2vl_merger"))
    }


@pytest.fixture
def eyes(engine, seeing):
    def start(kind, **options):
        model, projector = seeing[kind]
        return engine(model, mmproj=str(projector), **options)

    return start


def image(seed=0, size=(100, 60), data=None):
    data = tiny_mmproj.png(*size, seed) if data is None else data
    source = {
        "type": "base64",
        "media_type": "image/png",
        "data": base64.b64encode(data).decode(),
    }
    return {"type": "image", "source": source}


def user(*content):
    blocks = [{"type": "text", "text": c} if isinstance(c, str) else c for c in content]
    return {"role": "user", "content": blocks}


def assistant(text):
    return {"role": "assistant", "content": text}


async def say_fresh(eyes, kind, messages, **fields):
    async with eyes(kind, disk_cache_mib=0) as e:
        return text_of(await e.say(messages, **fields))


@KINDS
async def test_another_image_is_another_answer_and_the_same_one_the_same(eyes, kind):
    async with eyes(kind) as e:
        said = [
            text_of(await e.say([user("see", image(seed), "what is it?")], session=f"s{n}"))
            for n, seed in enumerate((0, 1, 0))
        ]
    assert said[0] == said[2] != said[1]


@KINDS
async def test_images_are_counted_in_tokens(eyes, kind):
    async with eyes(kind) as e:
        without = await e.count([user("see", "it")])
        one = await e.count([user("see", image(), "it")]) - without
        two = await e.count([user("see", image(), image(1), "it")]) - without
        large = await e.count([user("see", image(size=(200, 200)), "it")]) - without
        said = await e.say([user("see", image(), "it")])
        assert computed(said) == without + one
    assert one > 16
    assert 2 * one - 2 <= two <= 2 * one + 2
    assert large == one if kind == "gemma3" else large > 2 * one


@KINDS
async def test_the_next_turn_goes_on_behind_the_image(eyes, kind):
    first = [user(WORDS, image(), "what is it?")]
    async with eyes(kind) as e:
        answer = await e.say(first, session="s")
        messages = [*first, assistant(text_of(answer)), user("and this?", image(1))]
        second = await e.say(messages, session="s")
        assert reused(second) >= computed(answer) - 10
        other = [user(WORDS, image(2), "what is it?")]
        changed = await e.say(other, session="s")
        assert 0 < reused(changed) < computed(answer) - 16
    assert text_of(second) == await say_fresh(eyes, kind, messages)
    assert text_of(changed) == await say_fresh(eyes, kind, other)


@KINDS
async def test_an_image_is_shared_evicted_and_stored_like_text(eyes, kind):
    first = [user(WORDS, image(), "what is it?", "So? " * 30)]
    async with eyes(kind, slots=1) as e:
        answer = await e.say(first, session="s")
        await e.say([user(WORDS[::-1])], session="t")
        messages = [*first, assistant(text_of(answer)), user("and?")]
        second = await e.say(messages, session="s")
        assert reused(second) >= computed(answer) - 10
    async with eyes(kind) as e:
        third = await e.say(messages, session="s")
        assert reused(third) >= computed(answer) - 10
        assert any("from disk" in note for note in e.notes)
    fresh = await say_fresh(eyes, kind, messages)
    assert text_of(second) == text_of(third) == fresh


@KINDS
async def test_a_tool_may_show_an_image(eyes, kind):
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a.png"}}
    answers = []
    async with eyes(kind) as e:
        for seed in (0, 1):
            shown = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [image(seed)]}
            messages = [
                user("look"),
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [shown]},
            ]
            answers.append(text_of(await e.say(messages, session=f"s{seed}")))
    assert answers[0] != answers[1]


async def test_others_talk_while_an_image_is_taken_in(eyes):
    async with eyes("qwen2vl") as e:
        alone = text_of(await e.say("count with me", max_tokens=150))
        result = {}

        async def talk():
            result["text"] = text_of(await e.say("count with me", session="b", max_tokens=150))

        async def look(n):
            result[n] = text_of(await e.say([user(image(n, (300, 300)))], session=f"l{n}"))

        async with anyio.create_task_group() as group:
            group.start_soon(talk)
            for n in (1, 2, 1):
                group.start_soon(look, n)
    assert result["text"] == alone
    assert result[1] != result[2]


@KINDS
async def test_a_cancel_in_an_image_leaves_nothing_behind(eyes, kind):
    messages = [user(image(5, (400, 400)), "what is it?")]
    async with eyes(kind) as e:
        pid = (await e.ready()).pid
        for n in range(4):
            reply = await e.send([user(image(n, (400, 400)), WORDS)], session="s")
            await anyio.sleep(0.004 * n)
            await reply.close()
        after = text_of(await e.say(messages, session="s"))
        assert e.pid == pid
    assert after == await say_fresh(eyes, kind, messages)


def bomb():
    data = bytearray(tiny_mmproj.png(4, 4))
    struct.pack_into(">II", data, 16, 60_000, 60_000)
    return bytes(data)


UNREADABLE = {
    "not a JPEG, PNG, GIF or BMP": image(data=b"RIFF0000WEBPVP8 "),
    "damaged": image(data=tiny_mmproj.png(40, 40)[:90]),
    "truncated": image(data=b"\xff\xd8\xff"),
    "60,000 x 60,000 pixels": image(data=bomb()),
    "not base64": {"type": "image", "source": {"type": "base64", "data": "%%"}},
    "not fetched": {"type": "image", "source": {"type": "url", "url": "http://x/"}},
}


async def test_an_image_that_cannot_be_read_is_a_placeholder_with_the_reason(eyes):
    async with eyes("gemma3") as e:
        for reason, block in UNREADABLE.items():
            assert (await e.say([user("see", block)]))["stop_reason"]
            assert any(reason in note for note in e.notes), reason


async def test_a_marker_that_a_user_writes_is_text(eyes):
    async with eyes("gemma3") as e:
        plain = await e.count([user("<__media__> <|image-0|>")])
        assert plain == await e.count([user("<..media..> <.image-0.>")])


async def test_a_projector_of_another_model_is_refused(engine, seeing, tmp_path):
    wide = tiny_mmproj.write(tmp_path / "wide.gguf", "gemma3", text_width=128)
    async with engine(seeing["gemma3"][0], mmproj=str(wide)) as e:
        with pytest.raises(
            BackendUnavailable, match=r"as the `mmproj` of this model: .*128"
        ) as caught:
            await e.ready()
    assert caught.value.permanent


async def test_a_model_in_place_of_a_projector_is_refused(engine, seeing):
    model, _ = seeing["gemma3"]
    async with engine(model, mmproj=str(model)) as e:
        with pytest.raises(BackendUnavailable, match="not an image projector"):
            await e.say("hello")


async def test_a_model_that_sees_says_so(eyes, engine, seeing):
    async with eyes("gemma3") as e:
        await e.ready()
        assert "images" in (await e.backend.models())[0].capabilities
    async with engine(seeing["gemma3"][0]) as e:
        await e.ready()
        assert "images" not in (await e.backend.models())[0].capabilities
        await e.say([user("see", image())])
    assert any("reads text only" in note for note in e.notes)
