import socket
import subprocess
import sys
from ipaddress import ip_address
from shutil import which

import anyio
import pytest

from plugway_tools import (
    NotPublic,
    ToolResult,
    _public,
    failed,
    harmless,
    is_public,
    public_addresses,
)

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fd00:ec2::254", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::",
    "2002:a00:1::1", "2001:0:1:2::",
    "::127.0.0.1", "fec0::1", "64:ff9b:1::7f00:1", "4000::1",
]  # fmt: skip
SPELT = ["127.1", "0x7f000001", "2130706433", "017700000001", "0", "::ffff:7f00:1"]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_this_machine_and_its_networks_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(ip_address(address))


@pytest.mark.anyio
@pytest.mark.parametrize("host", [*PRIVATE, *SPELT, "localhost"])
async def test_a_host_that_is_not_public_is_refused_however_it_is_written(host):
    with pytest.raises(NotPublic, match="not a public address"):
        await public_addresses(host, 80)


@pytest.mark.anyio
async def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch):
    async def answers(host, port, **_):
        return [(0, 0, 0, "", ("8.8.8.8", port)), (0, 0, 0, "", ("10.0.0.1", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", answers)
    with pytest.raises(NotPublic, match=r"is 10\.0\.0\.1"):
        await public_addresses("two.example", 443)


@pytest.mark.anyio
async def test_a_public_host_gives_its_addresses_once(monkeypatch):
    async def answers(host, port, **_):
        assert _["type"] == socket.SOCK_STREAM
        return [(0, 0, 0, "", ("8.8.8.8", port)), (0, 0, 0, "", ("8.8.8.8", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", answers)
    assert await public_addresses("dns.example", 443) == ["8.8.8.8"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("host", "source", "near"),
    [
        ("8.8.8.8", "192.168.0.7", False),
        ("8.8.8.8", None, False),
        ("8.8.8.8", "8.8.8.8", True),
        ("2606:4700::1111", "2606:4700:1::5", False),
        ("2606:4700::1111", "2606:4700::5", True),
        ("2606:4700::1111", "2606:4700::1111", True),
    ],
)
async def test_public_addresses_of_this_machine_and_its_network_are_refused(
    monkeypatch, host, source, near
):
    monkeypatch.setattr(_public, "_source", lambda _: source)
    if not near:
        assert await public_addresses(host, 80) == [host]
        return
    with pytest.raises(NotPublic, match="of this machine or its network"):
        await public_addresses(host, 80)


ADDRESSED = """
ip link set lo up
ip addr add 8.8.8.8/32 dev lo
ip addr add 2606:4700::1111/128 dev lo
exec "$0" -c 'from plugway_tools._public import is_near
print(*map(is_near, ("8.8.8.8", "2606:4700::1111", "8.8.4.4", "2606:4700:1::1")))'
"""


@pytest.mark.slow
@pytest.mark.skipif(not which("unshare") or not which("ip"), reason="needs util-linux, iproute2")
def test_the_system_says_which_addresses_are_its_own():
    namespace = ["unshare", "--map-root-user", "--net", "sh", "-ec", ADDRESSED, sys.executable]
    said = subprocess.run(namespace, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", "True", "False", "False"]


def test_texts_of_tools_are_bounded_and_show_what_is_hidden():
    assert harmless("a\x1b[2Jb\u202ec\rd\n") == "a\\x1b[2Jb\\u202ec\\rd\n"
    assert harmless("all:\r\n\tcc a.c\r\n") == "all:\r\n\tcc a.c\r\n"
    assert harmless("x" * 100, limit=40) == "x" * 10 + "\n[cut: 100 characters]"


def test_a_failure_is_a_result_with_a_reason():
    result = failed("no such file; list the folder first")
    assert result.is_error
    assert result.text == "no such file; list the folder first"
    assert ToolResult.of("fine").is_error is False
