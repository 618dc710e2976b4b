"""Containers of the image with the databases of `deploy/compose.yaml`, or with an SQLite file."""

from __future__ import annotations

import re
import time
from functools import partial

import anyio.to_thread
import pytest

from plugway.testing import ScriptedUpstream, postgresql_server, redis_server, request_body
from tests.deploy.chroot import Container
from tests.deploy.running import DEPLOY, client, cloud, ended, healthy, listening

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.anyio]


@pytest.fixture(scope="module")
def servers(network):
    with postgresql_server() as postgres, redis_server() as redis:
        yield postgres, redis


def with_names(folders, tmp_path):
    """The names of the compose file's services, as Docker's network would have them."""
    hosts = folders.state.parent / "hosts"
    hosts.write_text("127.0.0.1 localhost database counters\n")
    return {**folders.binds, hosts: "/etc/hosts"}


def composed(folders, upstream, database, redis):
    """`deploy/config.yaml`, with the ports of these servers and the address of this upstream."""
    text = (DEPLOY / "config.yaml").read_text()
    port, name = re.search(r":(\d+)/(\w+)$", database["url"]).groups()
    changes = {
        "@database/plugway": f"@database:{port}/{name}",
        "counters:6379": f"counters:{redis.port}",
        "anthropic_key}}": f"anthropic_key}}, base_url: '{upstream.url}'}}",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    folders.config.write_text(text)
    folders.secret("database_password", database["password"])
    folders.secret("counters_password", redis.options["redis_password"])


async def test_the_configuration_of_the_compose_file_serves_people(
    image, folders, servers, tmp_path
):
    postgres, redis = servers
    async with ScriptedUpstream() as upstream:
        composed(folders, upstream, postgres.database(), redis)
        container = partial(Container, image, with_names(folders, tmp_path))
        code, said = await anyio.to_thread.run_sync(partial(ended, container, "check"))
        assert (code, said.splitlines()[-1]) == (0, "the configuration is valid"), said
        with container(command=["serve", "--log-json"]) as running:
            await anyio.to_thread.run_sync(running.line_with, "listening")
            run = partial(_inside, running)
            await run("plugway", "users", "add", "ann", "--models", "cloud/*")
            key = re.search(r"pw_\S+", await run("plugway", "users", "keys", "issue", "ann"))[0]
            async with client() as asking:
                reply = await asking.post(
                    "/v1/messages", json=request_body("hello"), headers={"x-api-key": key}
                )
            assert reply.status_code == 200, reply.text
            (served,) = running.first().children()
            print(f"it uses {served.memory_info().rss >> 20} MiB")


async def _inside(running, *command):
    code, said = await anyio.to_thread.run_sync(running.execute, command)
    assert code == 0, said
    return said


async def test_a_database_that_is_not_up_is_named_and_a_restart_finds_it(image, folders, tmp_path):
    with redis_server() as redis, postgresql_server() as postgres:
        async with ScriptedUpstream() as upstream:
            composed(folders, upstream, postgres.database(), redis)
            container = partial(Container, image, with_names(folders, tmp_path))
            postgres.kill()
            began = time.monotonic()
            code, said = await anyio.to_thread.run_sync(partial(ended, container))
            print(f"it gave up after {time.monotonic() - began:.1f} s")
            assert code == 3, said
            assert "postgresql://plugway@database" in said
            postgres.start()
            with container() as running:
                await listening(running)
                assert await healthy(running)


async def test_two_containers_share_an_sqlite_volume_of_one_machine(image, folders):
    """Each sees what the other wrote; the second has another port, as in another network."""
    async with ScriptedUpstream() as upstream:
        folders.writes(f"  - use: store\n  - use: accounts\n{cloud(upstream)}")
        one = Container(image, folders.binds)
        two = Container(image, folders.binds, command=["serve", "--port", "8485"])
        with one, two:
            await listening(one)
            await listening(two)
            await _inside(two, "plugway", "users", "add", "ann", "--models", "cloud/*")
            said = await _inside(two, "plugway", "users", "keys", "issue", "ann", "--label", "x")
            key = re.search(r"pw_\S+", said)[0]
            async with client() as asking:
                for port in (8484, 8485):
                    reply = await asking.post(
                        f"http://127.0.0.1:{port}/v1/messages",
                        json=request_body("hello"),
                        headers={"x-api-key": key},
                    )
                    assert reply.status_code == 200, reply.text
