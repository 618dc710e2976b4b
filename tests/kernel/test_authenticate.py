"""Callers that a plugin authenticates, and routes of plugins that need no token."""

from dataclasses import dataclass

import httpx2
import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route

from plugway import Caller, NoOptions, Plugin, hookimpl
from plugway.types.errors import PluginError
from plugway_testing import gateway, request_body
from plugway_wire.errors import RequestRejected
from tests.kernel.test_limited_tokens import stack

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True)
class Person(Caller):
    team: str = ""


class People(Plugin[NoOptions]):
    """Knows `key-ada`; `key-old` has expired, and `key-bad` finds a fault of the plugin."""

    @hookimpl
    def register_routes(self):
        async def seen(request):
            caller = request.scope["plugway.caller"]
            headers = {name: value for name, value in request.headers.items() if name != "host"}
            body = (await request.body()).decode()
            return JSONResponse({"caller": caller.name, "headers": headers, "body": body})

        own = Route("/mine", seen)
        own.limited_callers = True
        open_one = Route("/sign-in", seen, methods=["GET", "POST"])
        open_one.public = True
        upload = Route("/upload", seen, methods=["POST"])
        upload.limited_callers, upload.accepts = True, ("multipart/form-data",)
        return [upload, own, Route("/operator", seen), open_one]

    @hookimpl
    async def authenticate(self, token: str) -> Caller | None:
        if token == "key-old":
            raise RequestRejected("the key has expired", status=401, retry=False)
        if token == "key-bad":
            raise ZeroDivisionError
        return Person("ada", models=("mine/*",), team="x") if token == "key-ada" else None


class Witness(Plugin[NoOptions]):
    """Keeps the callers of exchanges."""

    callers: list[Caller]

    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        self.callers = []

    @hookimpl
    async def transform_request(self, request, exchange) -> None:
        self.callers.append(exchange.caller)


@pytest.fixture
async def witness():
    return Witness(NoOptions(), name="witness")


@pytest.fixture
async def served(witness):
    async with gateway([People(NoOptions(), name="people"), witness, *stack()]) as found:
        yield found


def as_somebody(served, **headers):
    return httpx2.AsyncClient(
        base_url=f"http://127.0.0.1:{served.port}", headers=headers, trust_env=False, verify=False
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer key-ada"},
        {"x-api-key": "key-ada"},
        {"x-goog-api-key": "key-ada"},
        {"plugway-token": "key-ada"},
        {"plugway-token": "key-ada", "authorization": "Bearer sk-own"},
    ],
)
async def test_a_plugin_says_whose_token_it_is(served, witness, headers):
    async with as_somebody(served, **headers) as client:
        answer = await client.post("/v1/messages", json=request_body(model="mine/a"))
        assert answer.status_code == 200, answer.text
        other = await client.post("/v1/messages", json=request_body(model="far/large"))
        assert other.status_code == 400
    caller = witness.callers[0]
    assert isinstance(caller, Person)
    assert (caller.name, caller.team) == ("ada", "x")
    own = [(b"authorization", b"Bearer sk-own")] if len(headers) == 2 else []
    assert list(caller.credentials) == own


async def test_a_person_named_like_a_token_is_refused_since_they_would_share_conversations():
    tokens = [{"name": "ada", "token": "phone-token", "models": ["mine/*"]}]
    async with gateway([People(NoOptions(), name="people"), *stack()], tokens=tokens) as served:
        body = request_body(model="mine/a")
        async with as_somebody(served, **{"plugway-token": "key-ada"}) as client:
            answer = await client.post("/v1/messages", json=body)
        async with as_somebody(served, **{"plugway-token": "phone-token"}) as client:
            assert (await client.post("/v1/messages", json=body)).status_code == 200
    assert answer.status_code == 403
    assert "`ada` is a person and a token in `server.tokens`: rename the token" in answer.text


@pytest.mark.parametrize(
    ("token", "status", "message"),
    [
        ("key-old", 401, "the key has expired"),
        ("key-bad", 500, "plugin `people`, hook `authenticate`: raised ZeroDivisionError"),
        ("key-ad", 401, "no valid token"),
        ("KEY-ADA", 401, "no valid token"),
    ],
)
async def test_other_tokens_are_refused_with_the_reason(served, token, status, message):
    async with as_somebody(served, authorization=f"Bearer {token}") as client:
        answer = await client.post("/v1/messages", json=request_body(model="mine/a"))
    assert answer.status_code == status
    if message:
        assert message in answer.json()["error"]["message"]
        assert answer.headers["request-id"] == answer.json()["request_id"]


async def test_the_token_of_the_configuration_needs_no_plugin(served, witness):
    async with as_somebody(
        served, **{"x-api-key": "test-token", "authorization": "Bearer key-old"}
    ) as client:
        answer = await client.post("/v1/messages", json=request_body(model="far/large"))
    assert answer.status_code == 200
    assert witness.callers[0].name == "owner"


async def test_routes_are_open_to_those_they_name(served):
    async with as_somebody(served, authorization="Bearer key-ada") as client:
        assert (await client.get("/mine")).json()["caller"] == "ada"
        assert (await client.get("/operator")).status_code == 403
        assert (await client.get("/sign-in")).json()["caller"] == "ada"
    async with as_somebody(served) as client:
        assert (await client.get("/mine")).status_code == 401
        assert (await client.get("/operator")).status_code == 401
        assert (await client.get("/sign-in")).json()["caller"] == "anonymous"
        assert (await client.get("/sign-in/")).status_code == 401
        assert (await client.get("/%73ign-in")).status_code in (200, 401)


async def test_a_public_route_takes_forms_and_cookies(served):
    own = f"http://127.0.0.1:{served.port}"
    async with as_somebody(served, cookie="a=1", origin=own) as client:
        answer = await client.post("/sign-in", data={"code": "AB CD"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["body"] == "code=AB+CD"
        assert answer.json()["headers"]["cookie"] == "a=1"
        assert (await client.post("/mine", data={"code": "x"})).status_code == 415
        assert (await client.put("/sign-in", data={"code": "x"})).status_code == 405


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"sec-fetch-site": "cross-site"}, 200),
        ("GET", {"host": "evil.example"}, 421),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"origin": "https://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"content-type": "text/plain"}, 415),
        ("POST", {"content-type": "multipart/form-data; boundary=x"}, 415),
        ("POST", {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}, 200),
    ],
)
async def test_another_site_may_link_to_a_public_page_and_not_send_its_form(
    served, method, headers, status
):
    async with as_somebody(served) as client:
        headers = {"content-type": "application/x-www-form-urlencoded", **headers}
        answer = await client.request(method, "/sign-in", content=b"a=1", headers=headers)
    assert answer.status_code == status


async def test_a_route_accepts_the_media_types_that_it_names(served):
    files = {"file": ("a.txt", b"some text", "text/plain")}
    async with as_somebody(served, authorization="Bearer key-ada") as client:
        answer = await client.post("/upload", files=files)
        assert answer.status_code == 200, answer.text
        assert "some text" in answer.json()["body"]
        assert (await client.post("/upload", json={"a": 1})).status_code == 200
        for other in ({"data": {"a": "b"}}, {"content": b"x", "headers": {"content-type": "x/y"}}):
            refused = await client.post("/upload", **other)
            assert refused.status_code == 415
            known = "must be `application/json` or `multipart/form-data`"
            assert known in refused.json()["error"]["message"]
        for path in ("/mine", "/upload/", "/v1/messages", "/sign-in"):
            assert (await client.post(path, files=files)).status_code == 415
        compressed = await client.post("/upload", files=files, headers={"content-encoding": "gzip"})
        assert compressed.status_code == 415
        values = b"[1,2],{" * (2**20)
        many = await client.post("/upload", files={"file": values})
        assert many.status_code == 200, "limits on JSON are not for files"
        for as_json in ("application/json", "application/json; charset=utf-8"):
            many = await client.post("/upload", content=values, headers={"content-type": as_json})
            assert many.status_code == 413
        large = await client.post("/upload", files={"file": b"x" * (33 * 2**20)})
        assert large.status_code == 413
    async with as_somebody(served) as client:
        assert (await client.post("/upload", files=files)).status_code == 401


async def test_a_page_of_the_gateway_may_send_requests_to_it(served):
    own = f"http://127.0.0.1:{served.port}"
    for origin, status in ((own, 200), (own + "0", 403), ("http://localhost", 403)):
        answer = await served.client.post(
            "/v1/messages/explain", json=request_body(model="mine/a"), headers={"origin": origin}
        )
        assert answer.status_code == status


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_no_route_for_models_can_be_public(path):
    class Careless(Plugin[NoOptions]):
        @hookimpl
        def register_routes(self):
            route = Route(path, lambda request: JSONResponse({}))
            route.public = True
            return [route]

    with pytest.raises(PluginError, match="must not be public"):
        async with gateway([Careless(NoOptions(), name="careless"), *stack()]):
            pass
