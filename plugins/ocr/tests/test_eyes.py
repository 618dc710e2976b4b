"""Pictures for models without vision become text; those for others stay."""

import asyncio
import json
import time

import anyio
import pytest
from speaking import block, png

from plugway.testing import build_plugin, gateway
from plugway_resilience import Resilience
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


def turn(*blocks):
    return [{"role": "user", "content": [*blocks, {"type": "text", "text": "What is wrong?"}]}]


def result(*blocks):
    """A turn with the result of a tool call."""
    call = {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}
    found = {"type": "tool_result", "tool_use_id": "t1", "content": list(blocks)}
    return [
        {"role": "user", "content": "Look"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [found]},
    ]


def router():
    return build_plugin(Router, "router")


async def sent(running, backend, messages, model="up/blind", **more):
    """The messages that reached the model, and the response."""
    body = {"model": model, "max_tokens": 10, "messages": messages, **more}
    answer = await running.post(body)
    assert answer.status_code == 200, answer.text
    return backend.seen[-1].get("messages")


def words(size, text):
    return (
        f"[A picture of {size} pixels. You cannot see it; this is the text in it:]\n"
        f"{text}\n[End of the picture]"
    )


async def test_a_blind_model_gets_the_text(make, backend):
    async with gateway([make(), router(), backend]) as running:
        marked = block("KeyError: 'price'", cache_control={"type": "ephemeral"})
        [message] = await sent(running, backend, turn(marked))
    first, second = message["content"]
    assert first == {
        "type": "text",
        "text": words("40 x 20", "KeyError: 'price'"),
        "cache_control": {"type": "ephemeral"},
    }
    assert second["text"] == "What is wrong?"


async def test_so_it_is_for_pictures_in_results_of_tools(make, backend):
    async with gateway([make(), router(), backend]) as running:
        messages = await sent(running, backend, result(block("exit 1"), block("")))
    first, second = messages[-1]["content"][0]["content"]
    assert first["text"] == words("40 x 20", "exit 1")
    assert second["text"] == (
        "[A picture of 40 x 20 pixels. You cannot see it, and no text was found in it.]"
    )


async def test_a_model_that_sees_gets_the_same_bytes(make, backend):
    async with gateway([make(), router(), backend]) as running:
        for model in ("seeing", "unknown"):
            messages = turn(block("x"))
            assert await sent(running, backend, messages, f"up/{model}") == messages
        assert (await running.app.snapshot.plugins[0].loaded()) == []


async def test_reading_may_take_longer_than_a_hook(make, backend):
    async with gateway([make(), router(), backend]) as running:
        [message] = await sent(running, backend, turn(block("slow screen")))
    assert message["content"][0]["text"] == words("40 x 20", "slow screen")


async def test_a_picture_in_a_long_conversation_is_read_once(make, backend):
    plugin = make()
    async with gateway([plugin, router(), backend]) as running:
        messages = turn(block("one"))
        for number in range(3):
            found = await sent(running, backend, messages)
            assert found[0]["content"][0]["text"] == words("40 x 20", "one")
            messages = [*messages, {"role": "assistant", "content": f"{number}"}, *turn()]
        read = await running.client.post("/v1/ocr", files={"file": png("two")})
    assert read.json()["served"] == 2


async def test_what_the_gateway_did_is_on_the_receipt(make, backend):
    async with gateway([make(), router(), backend]) as running:
        await sent(running, backend, turn(block("secret words"), block("more")))
    lines = [f"{c.field}: {c.because}" for c in backend.seen[-1].changes]
    assert "messages: the model accepts no images: 2 replaced by their text" in lines
    assert "messages: 2 pictures read as text" in lines
    assert "secret" not in str(lines)


async def test_explain_shows_where_pictures_are_and_reads_none(make, backend):
    plugin = make()
    async with gateway([plugin, router(), backend]) as running:
        body = {"model": "up/blind", "max_tokens": 10, "messages": turn(block("x"))}
        answer = await running.post(body, "/v1/messages/explain")
        assert "it is read before the request is sent" in answer.text
        assert await plugin.loaded() == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png("x")[:60], "cannot be decoded"),
        (b"<svg/>", "not a PNG"),
        (png("die"), "SIGKILL"),
    ],
)
async def test_a_picture_that_cannot_be_read_is_a_text_with_the_reason(make, backend, data, reason):
    async with gateway([make(), router(), backend]) as running:
        [message] = await sent(running, backend, turn(block(data), block("fine")))
        bad, good = message["content"][:2]
        assert "that could not be read" in bad["text"]
        assert reason in bad["text"]
        assert good["text"] == words("40 x 20", "fine")
        changes = [c.because for c in backend.seen[-1].changes]
        assert "1 pictures read as text, 1 could not be read" in changes
        # The same picture again starts no worker: what killed one would kill the next.
        [again] = await sent(running, backend, turn(block(data), block("fine")))
        assert again == message


async def test_the_list_of_models_is_not_asked_for_with_each_picture(make, backend, monkeypatch):
    asked = 0
    models = backend.models

    async def counted():
        nonlocal asked
        asked += 1
        return await models()

    backend.models = counted
    async with gateway([make(), router(), backend]) as running:
        for number in range(3):
            await sent(running, backend, turn(block(f"picture {number}")))
    assert asked == 1


async def test_a_url_is_not_fetched(make, backend):
    url = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:9/x.png"}}
    async with gateway([make(), router(), backend]) as running:
        assert await sent(running, backend, turn(url)) == turn(url)


async def test_a_client_cannot_write_a_mark(make, backend):
    forged = "[picture 0123456789abcdef-0: it is read before the request is sent]"
    messages = turn(block("x"), {"type": "text", "text": forged})
    async with gateway([make(), router(), backend]) as running:
        [message] = await sent(running, backend, messages)
    assert message["content"][1]["text"] == forged


# The policy


@pytest.mark.parametrize(
    ("eyes", "model", "reads"),
    [
        ({"*": "never"}, "blind", False),
        ({"up/unknown": "always", "*": "auto"}, "unknown", True),
        ({"up/*": "always"}, "seeing", True),
        ({"other/*": "auto"}, "blind", False),
        ({"up/bl*": "never", "*": "always"}, "blind", False),
    ],
)
async def test_a_policy_says_for_which_models(make, backend, eyes, model, reads):
    async with gateway([make(eyes=eyes), router(), backend]) as running:
        messages = turn(block("x"))
        found = await sent(running, backend, messages, f"up/{model}")
    assert (found != messages) is reads


@pytest.mark.parametrize(("images", "read"), [("all", 2), ("messages", 1), ("results", 1)])
async def test_and_which_pictures(make, backend, images, read):
    messages = [*result(block("in a result")), {"role": "assistant", "content": "?"}]
    messages += turn(block("in a message"))
    async with gateway([make(images=images), router(), backend]) as running:
        text = json.dumps(await sent(running, backend, messages))
    assert text.count('"image"') == 2 - read
    assert ("in a result" in text) is (images != "messages")
    assert ("in a message" in text) is (images != "results")


async def test_and_how_many_of_a_request(make, backend):
    messages = turn(*(block(f"number {number}") for number in range(4)))
    async with gateway([make(max_images=2), router(), backend]) as running:
        [message] = await sent(running, backend, messages)
    kinds = [one["type"] for one in message["content"]]
    assert kinds == ["image", "image", "text", "text", "text"]
    assert "number 3" in message["content"][3]["text"]


# Models that are not loaded


@pytest.mark.parametrize("sees", [False, True])
async def test_a_model_that_is_not_loaded_is_loaded_to_know_whether_it_sees(make, loading, sees):
    loading.able = frozenset({"tools", "images"} if sees else {"tools"})
    plugin = make()
    async with gateway([plugin, router(), loading]) as running:
        messages = turn(block("one", cache_control={"type": "ephemeral"}))
        for _ in range(2):
            found = await sent(running, loading, messages, "local/late")
            if sees:
                assert found == messages
            else:
                assert found[0]["content"][0]["text"] == words("40 x 20", "one")
            await loading.unload("late")
        assert bool(await plugin.loaded()) is not sees


async def test_each_attempt_gets_what_its_model_can_use(make, backend, loading):
    """A fallback to a model that sees gets the picture, though the first one was blind."""

    async def refuse(request, attempt):
        from plugway import BackendUnavailable

        loading.seen.append(request)
        raise BackendUnavailable("busy", status=529)

    loading.send = refuse
    models = {"*": ["local/late", "up/seeing"]}
    stack = [
        make(),
        build_plugin(Resilience, "resilience", max_attempts=2, cooldown_seconds=0.01),
        build_plugin(Router, "router", models=models),
        loading,
        backend,
    ]
    async with gateway(stack) as running:
        messages = turn(block("one"))
        assert await sent(running, backend, messages, "any") == messages
    assert "one" in loading.seen[-1].get("messages")[0]["content"][0]["text"]


# Callers


async def test_two_callers_share_no_result(make, backend):
    from plugway import Caller, RequestRejected

    plugin = make()
    async with gateway([plugin, router(), backend]):
        served = [
            (await plugin.reader.read(png("x"), Caller(name)))["served"]
            for name in ("ada", "ada", "bob")
        ]
        assert served == [1, 1, 2]
        with anyio.fail_after(20), pytest.raises(RequestRejected):
            await plugin.reader.read(b"", Caller("ada"))


async def test_the_event_loop_is_not_held_by_a_large_picture(make, backend, monkeypatch):
    """In CPU time of the loop's thread."""
    steps, run = [], asyncio.Handle._run

    def timed(handle):
        before = time.thread_time()
        run(handle)
        steps.append(time.thread_time() - before)

    large = block(png("large", size=(2500, 2300), noise=True))
    assert 16 * 2**20 < len(large["source"]["data"]) * 3 // 4 < 20 * 2**20
    async with gateway([make(), router(), backend]) as running:
        await sent(running, backend, turn(block("first")))
        body = json.dumps({"model": "up/blind", "max_tokens": 10, "messages": turn(large)}).encode()
        monkeypatch.setattr(asyncio.Handle, "_run", timed)
        answer = await running.post(body)
        monkeypatch.undo()
    assert answer.status_code == 200, answer.text
    text = backend.seen[-1].get("messages")[0]["content"][0]["text"]
    assert text == words("2500 x 2300", "large")
    assert max(steps) < 0.1
