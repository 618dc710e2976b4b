"""Hooks are called in the config's order, awaited one by one, bounded, and blamed by name."""

import anyio
import anyio.lowlevel
import pytest
from starlette.routing import BaseRoute

from plugway import (
    Backend,
    Dialect,
    Exchange,
    InvalidRequest,
    MessagesRequest,
    ModelInfo,
    Outcome,
    Plugin,
    Reply,
    Route,
    hookimpl,
)
from plugway.plugins.hooks import Hooks
from plugway.plugins.impls import STRIKES
from plugway.types.errors import HookError, PluginError
from plugway.types.options import NoOptions

pytestmark = pytest.mark.anyio
RAW = b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'


class Plain(Plugin[NoOptions]):
    """A plugin without options."""


def plugin(name, **methods):
    """A plugin with the given hook implementations."""
    body = {key: hookimpl(function) for key, function in methods.items()}
    return type(name.title(), (Plain,), body)(NoOptions(), name=name)


def exchange():
    return Exchange(MessagesRequest(RAW))


def adds(letter):
    async def transform_request(self, request, exchange):
        return request.replace(because="t", trail=request.body.get("trail", "") + letter)

    return transform_request


async def test_request_hooks_run_in_the_listed_order_and_are_on_the_receipt():
    hooks = Hooks(
        [plugin("a", transform_request=adds("a")), plugin("b", transform_request=adds("b"))]
    )
    made = exchange()
    request = await hooks.transform_request(MessagesRequest(RAW), made)
    assert request.body["trail"] == "ab"
    assert [(e.plugin, e.what) for e in made.receipt] == [
        ("a", "add trail: t"),
        ("b", "set trail: t"),
    ]


async def test_response_hooks_run_in_reverse_order():
    seen = []

    def notes(letter):
        async def transform_response(self, reply, exchange):
            seen.append(letter)

        return transform_response

    hooks = Hooks([plugin(x, transform_response=notes(x)) for x in "abc"])
    await hooks.transform_response(Reply.whole(200, b""), exchange())
    assert seen == ["c", "b", "a"]


async def test_an_async_implementation_that_answers_none_leaves_it_to_the_next():
    asked = []

    async def nobody(self, request, exchange):
        asked.append("first")
        await anyio.lowlevel.checkpoint()

    def somebody(self, request, exchange):
        asked.append("second")
        return Route((("x", "y"),), "because")

    def never(self, request, exchange):
        raise AssertionError("asked although there is a route")

    hooks = Hooks(
        [
            plugin("a", resolve_route=nobody),
            plugin("b", resolve_route=somebody),
            plugin("c", resolve_route=never),
        ]
    )
    made = exchange()
    route = await hooks.resolve_route(MessagesRequest(RAW), made)
    assert route is not None
    assert asked == ["first", "second"]
    assert made.receipt[0].plugin == "b"


async def test_layers_around_an_attempt_wrap_the_first_listed_outermost():
    seen = []

    def layer(letter):
        async def around_attempt(self, send, request, attempt, exchange):
            seen.append("in " + letter)
            reply = await send(request, attempt)
            seen.append("out " + letter)
            return reply

        return around_attempt

    async def send(request, attempt):
        seen.append("send")
        return Reply.whole(200, b"")

    hooks = Hooks([plugin(x, around_attempt=layer(x)) for x in "ab"])
    await hooks.around_attempt(send, exchange())(MessagesRequest(RAW), None)
    assert seen == ["in a", "in b", "send", "out b", "out a"]


async def test_an_implementation_takes_the_parameters_it_wants():
    def answer(self, exchange):
        return Reply.whole(200, exchange.id.encode())

    made = exchange()
    reply = await Hooks([plugin("a", answer=answer)]).answer(MessagesRequest(RAW), made)
    assert reply.body == made.id.encode()


async def test_a_request_hook_that_raises_ends_the_exchange_and_is_named():
    def transform_request(self, request):
        raise KeyError("oops")

    hooks = Hooks([plugin("broken", transform_request=transform_request)])
    with pytest.raises(
        HookError, match="plugin `broken`, hook `transform_request`: raised KeyError"
    ):
        await hooks.transform_request(MessagesRequest(RAW), exchange())


async def test_a_refusal_by_a_plugin_is_no_failure_of_it():
    def transform_request(self, request):
        raise InvalidRequest("not you")

    hooks = Hooks([plugin("strict", transform_request=transform_request)])
    with pytest.raises(InvalidRequest, match="not you"):
        await hooks.transform_request(MessagesRequest(RAW), exchange())
    assert not hooks.quarantined()


async def test_a_hook_that_hangs_is_ended_and_named(monkeypatch):
    async def transform_request(self, request):
        await anyio.sleep(60)

    hooks = Hooks([plugin("slow", transform_request=transform_request)])
    (impl,) = hooks.all()
    monkeypatch.setattr(impl, "info", type(impl.info)("CHAIN", "closed", True, 0.05))
    with pytest.raises(HookError, match=r"`slow`.*timed out after 0.05 s"):
        await hooks.transform_request(MessagesRequest(RAW), exchange())


async def test_a_response_hook_that_fails_is_skipped_and_switched_off_after_three_times():
    calls = []

    def transform_response(self, reply):
        calls.append(1)
        raise ValueError

    hooks = Hooks([plugin("shaky", transform_response=transform_response)])
    reply = Reply.whole(200, b"kept")
    for _ in range(STRIKES + 2):
        assert await hooks.transform_response(reply, exchange()) is reply
    assert len(calls) == STRIKES
    assert hooks.quarantined() == [("shaky", "transform_response")]


async def test_an_answer_of_the_wrong_type_is_a_failure():
    def answer(self, request):
        return "hello"

    with pytest.raises(HookError, match="returned str instead of `Reply` or None"):
        await Hooks([plugin("odd", answer=answer)]).answer(MessagesRequest(RAW), exchange())


async def test_finished_reaches_all_plugins_although_one_fails():
    told = []

    def bad(self, outcome):
        raise RuntimeError

    def good(self, outcome):
        told.append(outcome.kind)

    hooks = Hooks([plugin("a", finished=bad), plugin("b", finished=good)])
    await hooks.finished(exchange(), Outcome("completed", 200, 0.1))
    assert told == ["completed"]


async def test_no_layer_means_no_stream_hook_wanted_one():
    def transform_stream(self, stream):
        return None

    made = exchange()
    assert (
        Hooks([plugin("a", transform_stream=transform_stream)]).transform_stream(None, made) == []
    )
    assert made.receipt == []


async def test_the_model_list_passes_through_every_plugin():
    def list_models(self, models):
        return [*models, ModelInfo("alias")]

    listed = await Hooks([plugin("a", list_models=list_models)]).list_models((), exchange())
    assert [info.id for info in listed] == ["alias"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("transform_requests", r"did you mean `transform_request`\?"),
        ("transfrom_response", r"did you mean `transform_response`\?"),
        ("qqq", "the hooks are .*transform_request"),
    ],
)
def test_a_misspelt_hook_stops_the_start_and_names_the_real_one(name, hint):
    def method(self, request): ...

    with pytest.raises(PluginError, match=f"unknown hook `{name}`: {hint}"):
        Hooks([plugin("typo", **{name: method})])


def test_a_hook_that_is_not_marked_stops_the_start():
    class Forgot(Plugin[NoOptions]):
        def transform_request(self, request): ...

    with pytest.raises(PluginError, match="`transform_request` is named after a hook: add"):
        Hooks([Forgot(NoOptions(), name="forgot")])


def test_an_unknown_parameter_stops_the_start_and_names_the_real_one():
    def answer(self, reqest): ...

    with pytest.raises(PluginError, match=r"no parameter `reqest`: did you mean `request`\?"):
        Hooks([plugin("typo", answer=answer)])


def test_a_parameter_with_a_default_is_the_plugins_own():
    def answer(self, request, retries=3): ...

    assert Hooks([plugin("own", answer=answer)]).all()


def test_an_async_implementation_of_a_plain_hook_stops_the_start():
    async def transform_stream(self, stream): ...

    with pytest.raises(PluginError, match="must be a plain `def`"):
        Hooks([plugin("a", transform_stream=transform_stream)])


def test_keyword_only_parameters_stop_the_start():
    def answer(self, *, request): ...

    with pytest.raises(PluginError, match="keyword-only"):
        Hooks([plugin("a", answer=answer)])


def test_a_pluggy_wrapper_stops_the_start():
    class Wraps(Plugin[NoOptions]):
        @hookimpl(wrapper=True)
        def answer(self, request):
            yield

    with pytest.raises(PluginError, match="around_attempt"):
        Hooks([Wraps(NoOptions(), name="w")])


class Half:
    """A backend that cannot count and lists no models."""

    name, zone = "half", "local"

    async def send(self, request, attempt): ...


class Whole(Half):
    """All that a backend is."""

    async def count(self, request, attempt): ...

    async def models(self): ...


@pytest.mark.parametrize(
    ("hook", "result", "words"),
    [
        ("register_backends", Whole(), "returned one Whole instead of a list of `Backend`"),
        (
            "register_backends",
            [Half()],
            "a list with Half, which has no `count`, `models`, instead",
        ),
        ("register_dialects", [3], "a list with int, which has no `name`, `paths`"),
        ("register_routes", 5, "returned int instead of a list of `BaseRoute`"),
        ("register_routes", ["/x"], "returned a list with str instead of a list of `BaseRoute`"),
    ],
)
def test_what_a_hook_at_load_returns_wrongly_is_told_with_what_is_wanted(hook, result, words):
    def returned(self):
        return result

    hooks = Hooks([plugin("mine", **{hook: returned})])
    kinds = {"register_backends": Backend, "register_dialects": Dialect}
    arguments = (None,) if hook == "register_routes" else ()
    with pytest.raises(PluginError) as caught:
        hooks.listed(hook, kinds.get(hook, BaseRoute), *arguments)
    assert str(caught.value).startswith(f"plugin `mine`: hook `{hook}` ")
    assert words in str(caught.value)


def test_a_lifespan_that_is_no_context_is_told_what_it_lacks():
    async def lifespan(self, gateway):
        yield

    with pytest.raises(PluginError, match=r"plugin `mine`: hook `lifespan`.*asynccontextmanager"):
        Hooks([plugin("mine", lifespan=lifespan)]).lifespan(None)


async def test_the_trace_prints_each_call(monkeypatch, capsys):
    monkeypatch.setenv("PLUGWAY_TRACE_HOOKS", "1")
    hooks = Hooks([plugin("a", transform_request=adds("a"))])
    await hooks.transform_request(MessagesRequest(RAW), exchange())
    line = capsys.readouterr().err
    assert "transform_request" in line
    assert "MessagesRequest" in line


async def test_a_hook_that_waits_several_times_goes_on_after_each():
    async def transform_request(self, request, exchange):
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
        with pytest.raises(TimeoutError):
            with anyio.fail_after(0.01):
                await anyio.sleep_forever()
        return request.replace(because="t", trail="done")

    hooks = Hooks([plugin("a", transform_request=transform_request)])
    request = await hooks.transform_request(MessagesRequest(RAW), exchange())
    assert request.body["trail"] == "done"


async def test_a_waiting_hook_sees_the_cancellation_of_its_exchange():
    seen = []

    async def transform_request(self, request, exchange):
        try:
            await anyio.sleep_forever()
        finally:
            seen.append("left")

    hooks = Hooks([plugin("a", transform_request=transform_request)])
    with anyio.move_on_after(0.02) as scope:
        await hooks.transform_request(MessagesRequest(RAW), exchange())
    assert scope.cancelled_caught
    assert seen == ["left"]


class Seal(Plain):
    """A plugin whose word about a reply is final."""

    seals_replies = True


def seal(**methods):
    body = {key: hookimpl(function) for key, function in methods.items()}
    return type("Seal", (Seal,), body)(NoOptions(), name="seal")


def breaks_a_response(self, reply, exchange):
    raise RuntimeError("out of order")


def breaks_a_stream(self, stream, exchange):
    raise RuntimeError("out of order")


async def test_where_a_plugin_that_seals_replies_fails_the_exchange_ends_however_often():
    hooks = Hooks([seal(transform_response=breaks_a_response, transform_stream=breaks_a_stream)])
    for _ in range(STRIKES + 1):
        with pytest.raises(HookError, match="seal"):
            await hooks.transform_response(Reply.message({}), exchange())
        with pytest.raises(HookError, match="seal"):
            hooks.transform_stream(None, exchange())
    assert not hooks.quarantined()


async def test_a_plugin_that_seals_replies_may_still_fail_where_only_told():
    async def finished(self, exchange, outcome):
        raise RuntimeError("out of order")

    await Hooks([seal(finished=finished)]).finished(exchange(), Outcome("completed", 200, 1.0))


async def test_what_a_layer_around_the_attempt_changes_is_on_the_receipt_once():
    async def shortens(self, send, request, attempt, exchange):
        shorter = request.replace(because="it is too long", max_tokens=2)
        await send(shorter, attempt)
        return await send(shorter, attempt)

    async def passes(self, send, request, attempt, exchange):
        return await send(request, attempt)

    sent, made = [], exchange()
    hooks = Hooks(
        [plugin("outer", around_attempt=shortens), plugin("inner", around_attempt=passes)]
    )

    async def send(request, attempt):
        sent.append(request.get("max_tokens"))
        return Reply.message({})

    await hooks.around_attempt(send, made)(MessagesRequest(RAW), None)
    assert sent == [2, 2]
    assert [tuple(entry) for entry in made.receipt] == [
        ("around_attempt", "outer", "set max_tokens: it is too long")
    ]


async def test_an_argument_of_a_hook_is_passed_also_if_it_has_a_default():
    seen = []

    async def transform_request(self, request, exchange=None, extra=5):
        seen.append((exchange, extra))

    made = exchange()
    await Hooks([plugin("a", transform_request=transform_request)]).transform_request(
        MessagesRequest(RAW), made
    )
    assert seen == [(made, 5)]
