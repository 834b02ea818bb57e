"""What a run is given to reach its venues, and that no output of it holds a secret."""

import asyncio
import io
import json
import logging

import pytest
import structlog
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from feeds.errors import SecretError
from feeds.secrets import Credentials
from scanner.__main__ import main
from scanner.access import access_of
from scanner.config import load
from scanner.errors import ConfigError
from scanner.replay import recorded_config
from scanner.run import LiveHooks, LiveRun
from scanner.telemetry import set_up_logging
from scanner.view import LiveView

KEY, SECRET = "canary-key-0001", "canary-secret-0002"


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "venue.key"
    path.write_text(f'key = "{KEY}"\nsecret = "{SECRET}"\n')
    path.chmod(0o600)
    return path


def settings(**more):
    return load(None, {key.replace("__", "."): value for key, value in more.items()})


def test_no_key_file_gives_neither_credentials_nor_redaction():
    access = access_of(settings(), "deribit")
    assert (access.credentials, access.redact, access.network.proxy) == (None, None, None)


def test_key_file_gives_credentials_and_their_redaction(key_file):
    access = access_of(settings(venues__deribit__key_file=str(key_file)), "deribit")
    assert access.credentials == Credentials(KEY, SECRET)
    assert access.redact(f"{KEY} {SECRET}".encode()) == b"[redacted] [redacted]"


def test_login_needs_a_key_file_and_a_venue_that_has_one(key_file):
    with pytest.raises(ConfigError, match=r"venues\.deribit\.authenticated needs .*key_file"):
        access_of(settings(venues__deribit__authenticated=True), "deribit")
    with pytest.raises(ConfigError, match="there is no login to it"):
        access_of(
            settings(venues__okx__authenticated=True, venues__okx__key_file=str(key_file)), "okx"
        )


def test_a_proxy_and_its_account_belong_together(key_file):
    network = {"network__proxy": "http://a:1", "network__proxy_key_file": str(key_file)}
    assert access_of(settings(**network), "deribit").network.account == Credentials(KEY, SECRET)
    other = access_of(settings(**network, venues__deribit__proxy="http://b:2"), "deribit")
    assert (other.network.proxy, other.network.account) == ("http://b:2", None)
    own = settings(
        **network, venues__deribit__proxy="http://b:2",
        venues__deribit__proxy_key_file=str(key_file),
    )  # fmt: skip
    assert access_of(own, "deribit").network.account == Credentials(KEY, SECRET)
    direct = access_of(settings(**network, venues__deribit__proxy="direct"), "deribit").network
    assert (direct.proxy, direct.account) == (None, None)


def test_user_of_a_proxy_holds_no_colon(key_file):
    key_file.write_text('key = "a:b"\nsecret = "canary-secret"\n')
    with pytest.raises(ConfigError, match="key held a colon"):
        access_of(
            settings(network__proxy="http://a:1", network__proxy_key_file=str(key_file)), "deribit"
        )


def test_account_of_a_proxy_is_redacted_like_any_other(key_file):
    access = access_of(
        settings(network__proxy="http://a:1", network__proxy_key_file=str(key_file)), "deribit"
    )
    assert access.redact.text(f"407 for {KEY}:{SECRET}") == "407 for [redacted]:[redacted]"


@pytest.mark.parametrize("key", ["network.proxy", "venues.deribit.proxy"])
@pytest.mark.parametrize(
    "address", ["http://user:canary@proxy:1", "http://user:can/canary@b@proxy:1", "socks5://p"]
)
def test_address_of_a_proxy_holds_no_account_and_is_not_repeated_if_it_does(key, address):
    with pytest.raises(ConfigError) as caught:
        load(None, {key: address})
    assert f"option {key} was '" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_authorities_must_be_a_file_of_certificates(tmp_path):
    wrong = tmp_path / "ca.pem"
    wrong.write_text("no certificate\n")
    with pytest.raises(ConfigError, match=r"network.ca_file was .*ca.pem: .*"):
        access_of(settings(network__ca_file=str(wrong)), "deribit")
    with pytest.raises(ConfigError, match="No such file"):
        access_of(settings(network__ca_file=str(tmp_path / "nowhere")), "deribit")


def test_readable_key_file_ends_the_command_with_one_line(key_file, tmp_path, capfd):
    key_file.chmod(0o644)
    with pytest.raises(SecretError):
        access_of(settings(venues__deribit__key_file=str(key_file)), "deribit")
    file = tmp_path / "config.toml"
    file.write_text(f'[venues.deribit]\nkey_file = "{key_file}"\n')
    assert main(["universe", "--config", str(file)]) == 2
    assert capfd.readouterr().err == (
        f"scanner: {key_file}: mode was 0644, expected 0600 (chmod 600)\n"
    )


def test_configuration_shows_where_keys_are_and_never_the_keys(key_file, tmp_path, capfd):
    file = tmp_path / "config.toml"
    file.write_text(f'[venues.deribit]\nkey_file = "{key_file}"\nauthenticated = true\n')
    assert main(["check-config", str(file)]) == 0
    shown = capfd.readouterr().out
    assert f'venues.deribit.key_file = "{key_file}"' in shown
    assert "canary" not in shown


PERPETUAL = {
    "instrument_name": "BTC-PERPETUAL", "kind": "future", "settlement_period": "perpetual",
    "base_currency": "BTC", "quote_currency": "USD", "settlement_currency": "BTC",
    "instrument_type": "reversed", "tick_size": 0.5, "contract_size": 10.0,
}  # fmt: skip


class EchoingVenue:
    """Takes what a client says, and says it back wherever a venue may say anything."""

    def __init__(self):
        self.logins = 0

    async def instruments(self, request):
        body = json.dumps({"result": [PERPETUAL], "echo": [KEY, SECRET]})
        return web.Response(headers={"X-Echo": SECRET}, text=body)

    async def websocket(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                break
            asked = json.loads(message.data)
            await socket.send_str(message.data)
            if asked["method"] == "public/auth":
                self.logins += 1
                assert asked["params"]["client_secret"] == SECRET
                error = {"code": 13004, "message": f"invalid_credentials {KEY} {SECRET}"}
                await socket.send_str(
                    json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error})
                )
        return socket

    def start(self):
        app = web.Application()
        app.router.add_get("/ws", self.websocket)
        app.router.add_get("/{any:.*}", self.instruments)
        return TestServer(app)


@pytest.fixture
def log_stream():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logging("debug", stream=stream)
    yield stream
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


async def test_no_output_of_a_run_holds_what_its_venue_echoes(
    key_file, tmp_path, log_stream, capfd
):
    venue, folder = EchoingVenue(), tmp_path / "recording"
    with LiveView() as view:
        async with venue.start() as server:
            config = settings(
                venues__deribit__key_file=str(key_file), venues__deribit__authenticated=True,
                venues__deribit__rest_url=str(server.make_url("")),
                venues__deribit__ws_url=f"ws://127.0.0.1:{server.port}/ws",
                limits__connect_state_file=str(tmp_path / "connects.json"),
                limits__connect_backoff_s=0.01, engine__listings_capacity=128,
            )  # fmt: skip
            troubles = []
            told = asyncio.Event()

            def on_trouble(name, text):
                structlog.get_logger().warning("feed in trouble", venue=name, trouble=text)
                view.trouble(name, text)
                troubles.append(text)
                told.set()

            live = LiveRun(
                config, record_to=folder, hooks=LiveHooks(on_trouble=on_trouble), scanning=False
            )
            running = asyncio.create_task(live.run())
            async with asyncio.timeout(20):
                while not any("login refused" in text for text in troubles):
                    told.clear()
                    await told.wait()
                live.stop()
                await running
    assert venue.logins
    assert any("login refused" in text for text in troubles)
    assert recorded_config(folder)["venues"]["deribit"]["authenticated"] is True
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p != key_file]
    outputs = [path.read_bytes() for path in files]
    texts = [*troubles, log_stream.getvalue(), *capfd.readouterr(), repr(live.summary())]
    assert any(b"[redacted]" in output for output in outputs)
    assert [text for text in texts if "canary" in text] == []
    assert [output for output in outputs if b"canary" in output] == []
