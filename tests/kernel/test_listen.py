"""What listening beyond this machine requires, and the URLs and names that follow from it."""

import datetime
from pathlib import Path

import httpx2
import pytest
import trustme
from cryptography.hazmat.primitives import serialization as s

from plugway.cli.check import checked
from plugway.cli.local import LocalGateway
from plugway.cli.serve import banner, connection
from plugway.config.config import ExposedError, load_config, parse_config
from plugway.config.listen import NEW_TOKEN
from plugway.http.app import App
from plugway.http.server import serving
from plugway.http.snapshot import Snapshot
from plugway.testing import build_plugin, gateway
from plugway.types.errors import ConfigError
from plugway_echo import Echo
from plugway_http.certificate import CertificateFiles, trusting
from plugway_wire.errors import PlugwayError

ROOT = Path(__file__).parents[2]
TOKEN = "t" * 32


@pytest.fixture
def certificate(tmp_path):
    """Writes a certificate for some names beside the configuration."""

    def write(*names, **more):
        leaf = trustme.CA().issue_cert(*names, **more)
        (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
        (tmp_path / "key.pem").write_bytes(leaf.private_key_pem.bytes())

    return write


@pytest.fixture
def configured(tmp_path):
    """Writes a configuration with these lines in `server`, and returns its path."""

    def write(*lines):
        path = tmp_path / "c.yaml"
        tls = "tls: {certificate: cert.pem, key: key.pem}"
        text = "\n  ".join((f"token: {TOKEN}", tls, *lines))
        path.write_text(f"server:\n  {text}\nplugins: [{{use: echo}}]\n")
        path.chmod(0o600)
        return path

    return write


def server(text):
    return parse_config(f"server: {{token: {TOKEN}, {text}}}\nplugins: []").server


# ---- protection


def test_tls_of_its_own_protects_an_address_as_well_as_a_proxy():
    assert server("host: 0.0.0.0, tls: {certificate: c.pem, key: k.pem}").tls
    with pytest.raises(ExposedError, match="`tls`, or `behind_tls: true` and a proxy"):
        server("host: 0.0.0.0")


@pytest.mark.parametrize(
    ("tokens", "place"),
    [
        ("token: " + "t" * 21, "server.token"),
        (f"token: {TOKEN}, tokens: [{{name: a, token: short, models: [x/y]}}]", "tokens[0].token"),
    ],
)
def test_a_short_token_is_refused_beyond_this_machine(tokens, place):
    text = f"server: {{behind_tls: true, {tokens}, host: %s}}\nplugins: []"
    assert parse_config(text % "127.0.0.1").server.token
    with pytest.raises(ExposedError) as caught:
        parse_config(text % "192.0.2.1")
    (problem,) = caught.value.problems
    assert place in problem.path
    assert "at least 22 characters" in problem.reason
    assert "secrets.token_urlsafe(32)" in problem.fix


def test_the_command_that_makes_a_token_makes_one_that_is_accepted():
    assert NEW_TOKEN in (ROOT / "docs/https.md").read_text("utf-8")
    code = NEW_TOKEN.partition('"')[2].rstrip('"')
    printed = []
    exec(code, {"print": printed.append})
    text = f"server: {{host: 0.0.0.0, behind_tls: true, token: '{printed[0]}'}}\nplugins: []"
    assert parse_config(text).server.token


# ---- names


@pytest.mark.parametrize(
    ("entry", "sent", "status"),
    [
        ("llm.example.com", "llm.example.com", 200),
        ("llm.example.com", "LLM.example.com:PORT", 200),
        ("llm.example.com", "llm.example.com:1", 421),
        ("llm.example.com:443", "llm.example.com:443", 200),
        ("llm.example.com:443", "llm.example.com", 421),
        ("LLM.Example.com", "llm.example.com", 200),
        ("*.example.com", "any.example.com:PORT", 200),
        ("*.example.com", "example.com", 421),
        ("*.example.com", "a.b.example.com", 421),
        ("*.example.com", ".example.com", 421),
        ("*.example.com", "evil/x.example.com", 421),
        ("*.example.com", "a@b.example.com", 421),
        ("*.example.com", "*.example.com", 200),
        ("2001:db8::1", "[2001:db8::1]:PORT", 200),
        ("[2001:db8::1]", "[2001:db8::1]", 200),
        ("192.0.2.7", "192.0.2.7:PORT", 200),
    ],
)
@pytest.mark.anyio
async def test_allowed_hosts(entry, sent, status):
    async with gateway([build_plugin(Echo, "echo")], allowed_hosts=[entry]) as running:
        host = sent.replace("PORT", str(running.port))
        response = await running.client.get("/health", headers={"host": host})
    assert response.status_code == status, response.text


@pytest.mark.parametrize(
    "entry",
    [
        "https://llm.example.com",
        "a/b",
        "a b",
        "",
        "*",
        "a.*.com",
        "ünï.example",
        "a:b",
        "[::1",
        "a:",
    ],
)
def test_an_allowed_host_that_is_no_name_is_refused(entry):
    with pytest.raises(ConfigError, match="should be a name such as"):
        server(f"allowed_hosts: ['{entry}']")


@pytest.mark.anyio
async def test_the_address_that_it_listens_on_is_a_name_for_it():
    async with gateway([build_plugin(Echo, "echo")], host="127.0.0.2") as running:
        for host, status in (("127.0.0.2", 200), (f"127.0.0.2:{running.port}", 200), ("b", 421)):
            response = await running.client.get("/health", headers={"host": host})
            assert response.status_code == status


@pytest.mark.parametrize(("host", "sent"), [("0.0.0.0", "0.0.0.0"), ("::", "[::]")])
@pytest.mark.anyio
async def test_all_addresses_is_not_a_name(host, sent):
    server = {"host": host, "behind_tls": True, "token": TOKEN}
    async with gateway([build_plugin(Echo, "echo")], **server) as running:
        for name in (sent, f"{sent}:{running.port}"):
            response = await running.client.get("/health", headers={"host": name})
            assert response.status_code == 421


@pytest.mark.parametrize(
    ("settings", "address", "others"),
    [
        ("", "http://127.0.0.1:8484", ""),
        ("TLS", "https://127.0.0.1:8484", ""),
        ("host: 0.0.0.0, behind_tls: true", "http://127.0.0.1:8484", "nowhere: list the name"),
        (
            "host: 0.0.0.0, behind_tls: true, allowed_hosts: [llm.example.com]",
            "http://127.0.0.1:8484",
            "https://llm.example.com",
        ),
        (
            "TLS, host: '::', allowed_hosts: ['*.example.org', llm.example.com, b.test:443]",
            "https://llm.example.com:8484",
            "https://llm.example.com:8484, https://b.test:443",
        ),
        (
            "TLS, host: '2001:db8::1', port: 443",
            "https://[2001:db8::1]:443",
            "https://[2001:db8::1]",
        ),
    ],
)
def test_the_urls_for_this_machine_and_for_others(settings, address, others):
    text = settings.replace("TLS", "tls: {certificate: c.pem, key: k.pem}")
    config = parse_config(f"server: {{token: {TOKEN}, {text}}}\nplugins: []")
    assert config.server.address == address
    shown = banner(config, "1", address)
    assert address in shown.splitlines()[0]
    assert f"  others   {others}" in shown if others else "others" not in shown


# ---- the certificate


def warnings_of(path):
    report = checked(path)
    assert report.error is None
    return [text for text in report.warnings if "server.tls" in text]


def test_check_is_silent_about_a_good_certificate(certificate, configured):
    certificate("llm.example.com", "::1")
    path = configured("host: 0.0.0.0", "allowed_hosts: [llm.example.com, '::1', '*.b.test']")
    assert warnings_of(path) == []


@pytest.mark.parametrize(
    ("days", "words"), [(13.5, "expires in 13 days"), (-3, "; clients refuse it")]
)
def test_check_warns_of_a_certificate_that_ends_soon_or_has_ended(
    certificate, configured, days, words
):
    now = datetime.datetime.now(datetime.UTC)
    end = now + datetime.timedelta(days=days)
    certificate("a.test", not_before=now - datetime.timedelta(days=30), not_after=end)
    (warning,) = warnings_of(configured("host: 0.0.0.0", "allowed_hosts: [a.test]"))
    assert "c.yaml:3:9: `server.tls.certificate`" in warning
    assert words in warning


@pytest.mark.parametrize(
    ("lines", "missing"),
    [
        (["host: 0.0.0.0", "allowed_hosts: [a.test, other.test:443]"], "other.test"),
        (["host: 192.0.2.1"], "192.0.2.1"),
        ([], "127.0.0.1"),
    ],
)
def test_check_warns_of_names_that_the_certificate_does_not_have(
    certificate, configured, lines, missing
):
    certificate("a.test")
    (warning,) = warnings_of(configured(*lines))
    assert f"cert.pem is not valid for {missing}, but for a.test" in warning


def test_a_certificate_that_cannot_be_used_is_a_problem_at_its_place(
    certificate, configured, tmp_path
):
    certificate("a.test")
    (tmp_path / "key.pem").unlink()
    error = checked(configured()).error
    assert isinstance(error, ConfigError)
    (problem,) = error.problems
    assert problem.where.endswith("c.yaml:3:32")
    assert problem.path == "server.tls.key"
    assert f"cannot read {tmp_path / 'key.pem'}: No such file" in problem.reason


def test_the_password_of_a_key_is_a_reference(certificate, configured, tmp_path, monkeypatch):
    certificate("127.0.0.1")
    key = s.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    encrypted = s.BestAvailableEncryption(b"tls-password-1")
    pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, encrypted)
    (tmp_path / "key.pem").write_bytes(pem)
    path = configured()
    error = checked(path).error
    assert isinstance(error, ConfigError)
    assert "key.pem is encrypted" in str(error)
    assert "set `password`" in str(error)
    monkeypatch.setenv("KEY_PASSWORD", "tls-password-1")
    path.write_text(
        path.read_text().replace("key.pem}", "key.pem, password: {$env: KEY_PASSWORD}}")
    )
    assert checked(path).error is None


def test_the_lines_to_paste_trust_a_certificate_that_the_system_does_not(
    certificate, configured, tmp_path
):
    certificate("127.0.0.1")
    path = configured()
    text = connection(load_config(path), "https://127.0.0.1:8484", None, [])
    assert "NODE_EXTRA_CA_CERTS=YOUR_CA.pem" in text, "its authority's certificate is not known"
    assert "curl --cacert YOUR_CA.pem https://" in text
    assert LocalGateway.find(path).ca_file == ""


# ---- commands on this machine


def test_commands_name_a_certificate_that_they_cannot_read(certificate, configured, tmp_path):
    certificate("a.test")
    path = configured()
    (tmp_path / "cert.pem").unlink()
    with pytest.raises(PlugwayError, match=r"cannot read the certificate .*cert\.pem: No such"):
        LocalGateway.find(path).state()


@pytest.mark.anyio
async def test_a_page_of_the_http_twin_of_an_https_gateway_is_refused(certificate, tmp_path):

    certificate("127.0.0.1")
    config = parse_config(f"server: {{token: {TOKEN}}}\nplugins: []")
    app = App(config, Snapshot(config, [build_plugin(Echo, "echo")]))
    files = CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    async with (
        serving(app, certificate=files) as port,
        httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{port}", verify=trusting(files.certificate)
        ) as client,
    ):
        for scheme, status in (("https", 200), ("http", 403)):
            origin = {"origin": f"{scheme}://127.0.0.1:{port}"}
            response = await client.get("/health", headers=origin)
            assert response.status_code == status
