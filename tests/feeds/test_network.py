"""Ways to a venue: through a proxy, with certificates that somebody vouches for."""

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer

from feeds.network import Network, certificates_of
from feeds.record import RecordType, Redactor
from feeds.secrets import Credentials
from tests.feeds.toy_proxy import toy_proxy
from tests.feeds.toy_venue import POLICY, Server, World, running

# A private authority and what it signed for 127.0.0.1, until 2126: openssl req -x509 -addext
# basicConstraints=critical,CA:TRUE; openssl x509 -req with subjectAltName=IP:127.0.0.1.
CERTIFICATES = Path(__file__).parent / "certificates"
ACCOUNT = Credentials("canary-user", "canary-password")


class SecureTestServer(TestServer):
    """Speaks TLS with the certificate of the tests' own authority."""

    async def start_server(self, loop=None, **kwargs):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATES / "server.pem")
        await super().start_server(loop, ssl=context, **kwargs)


@dataclass
class SecureServer(Server):
    def start(self):
        return SecureTestServer(super().start().app, scheme="https")


def secure_world(folder=None) -> World:
    world = World(folder)
    world.server = SecureServer(world.time.changed)
    return world


def private() -> ssl.SSLContext:
    return certificates_of(CERTIFICATES / "authority.pem")


async def test_certificate_that_nobody_vouches_for_keeps_the_feed_down_and_says_why():
    world = secure_world()
    async with running(world):
        await world.until(lambda: world.session.counts.discovery_failures == 1)
        assert "certificate verify failed: self-signed certificate" in world.session.trouble
        assert world.server.asked == []


async def test_socket_is_refused_like_the_instruments():
    world = secure_world()
    async with Server(world.time.changed).start() as open_to_all:
        rest_url = str(open_to_all.make_url(""))
        async with running(world, rest_url=rest_url):
            await world.until(lambda: world.session.counts.connect_failures == 1)
            assert "1 of 1 connections down" in world.session.trouble
            assert "certificate verify failed" in world.session.trouble
    assert world.server.sockets == []


async def test_private_authority_is_believed_where_it_is_named():
    world = secure_world()
    async with running(world, network=Network(certificates=private())):
        await world.accepted("book.A1")


def test_private_authority_stands_beside_those_of_the_system():
    of_the_system = ssl.create_default_context().get_ca_certs()
    believed = private().get_ca_certs()
    assert len(believed) == len(of_the_system) + 1
    assert private().verify_mode is ssl.CERT_REQUIRED
    assert private().check_hostname


async def test_http_and_sockets_go_through_the_proxy():
    world = World()
    async with toy_proxy() as proxy, running(world, network=Network(proxy=proxy.address)):
        await world.accepted("book.A1")
        await world.push('{"channel":"book.A1"}')
    # The connection to a proxy is kept: the socket is asked for on that of the instruments.
    sent = proxy.asked[0].encode() + proxy.sent
    assert b"/instruments?of=" in proxy.asked[0].encode()
    assert re.search(rb"GET http://127.0.0.1:\d+/ws HTTP", sent)
    assert b"Authorization" not in sent


async def test_tls_goes_through_the_proxy_unseen():
    world = secure_world()
    async with toy_proxy() as proxy:
        network = Network(proxy=proxy.address, account=ACCOUNT, certificates=private())
        async with running(world, network=network):
            await world.accepted("book.A1")
    assert {asked.split(" ")[0] for asked in proxy.asked} == {"CONNECT"}
    pair = ACCOUNT.hidden()[-1]
    assert all(f"Proxy-Authorization: Basic {pair}" in asked for asked in proxy.asked)
    sent = "".join(proxy.asked).encode() + proxy.sent
    assert not any(word in sent for word in (b"instruments", b"book.A1", b"Upgrade"))


async def test_proxy_does_not_soften_the_verification():
    world = secure_world()
    async with toy_proxy() as proxy, running(world, network=Network(proxy=proxy.address)):
        await world.until(lambda: world.session.counts.discovery_failures == 1)
        assert "certificate verify failed" in world.session.trouble
    assert world.server.asked == []


async def test_proxy_of_the_environment_is_not_looked_at(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    world = World()
    async with running(world):
        await world.accepted("book.A1")


@pytest.mark.parametrize("secure", [False, True])
async def test_account_that_a_proxy_repeats_is_in_no_output(tmp_path, capfd, secure):
    pair = ACCOUNT.hidden()[-1]
    said = f"{ACCOUNT.key} {ACCOUNT.secret} {pair}"
    refusal = f"HTTP/1.1 407 no {said}\r\nX-Said: {said}\r\nContent-Length: 0\r\n\r\n"
    world = secure_world(tmp_path) if secure else World(tmp_path)
    async with toy_proxy(refusal) as proxy, running(
        world,
        network=Network(proxy=proxy.address, account=ACCOUNT, certificates=private()),
        redact=Redactor(ACCOUNT.hidden()),
    ):  # fmt: skip
        await world.until(lambda: world.session.counts.discovery_failures == 1)
        shown = [world.session.trouble, world.session.problem, repr(world.session)]
    assert "407" in shown[0]
    assert world.inbox.of(RecordType.HTTP) == []
    texts = [*shown, *capfd.readouterr(), *map(repr, world.inbox.records)]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any("canary" in text or pair in text for text in texts)
    assert not any(b"canary" in content or pair.encode() in content for content in files)


async def test_account_that_a_proxy_repeats_to_a_socket_is_in_no_trouble():
    said = f"{ACCOUNT.key} {ACCOUNT.secret}"
    world = secure_world()
    async with Server(world.time.changed).start() as instruments, toy_proxy(
        f"HTTP/1.1 407 no {said}\r\nContent-Length: 0\r\n\r\n", ("CONNECT",)
    ) as proxy:  # fmt: skip
        rest_url = str(instruments.make_url(""))
        network = Network(proxy=proxy.address, account=ACCOUNT)
        redact = Redactor(ACCOUNT.hidden())
        async with running(world, rest_url=rest_url, network=network, redact=redact):
            await world.until(lambda: world.session.counts.connect_failures == 1)
            trouble = world.session.trouble
    assert "status was 407, no [redacted] [redacted]" in trouble
    assert "canary" not in trouble


async def test_unreachable_proxy_is_a_trouble_and_is_tried_again():
    world = World()
    async with running(world, network=Network(proxy="http://127.0.0.1:1")):
        await world.until(lambda: world.session.counts.discovery_failures == 1)
        assert "Cannot connect to host 127.0.0.1:1" in world.session.trouble
        await world.until(lambda: len(world.time.sleepers) == 2)
        await world.pass_s(POLICY.retry_base_s)
        await world.until(lambda: world.session.counts.discovery_failures == 2)
