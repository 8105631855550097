"""DTLS without sockets: handshakes, cookies, replay, hostile records, bounds."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.model import Principal
from tests.support import require_dtls

require_dtls()
from adapters.coap.serving import dtls  # noqa: E402

KEY = b"0123456789abcdef"
HERE = ("127.0.0.1", 1000)
LAMP = Principal("device:lamp", "device", method="psk", credential="psk:lamp")


class Client:
    """A DTLS client of mbedtls, datagram by datagram."""

    def __init__(self, identity="lamp", key=KEY, suites=dtls.SUITES):
        from mbedtls.tls import ClientContext, DTLSConfiguration, DTLSVersion

        configuration = DTLSConfiguration(
            validate_certificates=False,
            ciphers=suites,
            lowest_supported_version=DTLSVersion.DTLSv1_2,
            pre_shared_key=(identity, key),
        )
        self.buffer = ClientContext(configuration).wrap_buffers(None)

    @property
    def done(self):
        return self.buffer._handshake_state is dtls.HandshakeStep.HANDSHAKE_OVER

    def step(self):
        """Go on with the handshake; return what is to be sent."""
        with contextlib.suppress(dtls.WantReadError):
            for _ in range(40):
                if self.done:
                    break
                with contextlib.suppress(dtls.WantWriteError):
                    self.buffer.do_handshake()
        return self.out()

    def out(self):
        sent = b""
        while waiting := self.buffer.peek_outgoing(65536):
            self.buffer.consume_outgoing(len(waiting))
            sent += waiting
        return sent

    def say(self, data):
        self.buffer.write(data)
        return self.out()

    def hear(self, data):
        self.buffer.receive_from_network(data)
        return self.buffer.read(4096)


class Server:
    """The site's side, and everything that it did."""

    def __init__(self):
        self.keys = {"lamp": KEY}
        self.sent: list[tuple[bytes, tuple]] = []
        self.heard: list[tuple[bytes, tuple]] = []
        self.gone: list[tuple] = []
        self.holders = {"lamp": LAMP}
        self.dtls = dtls.Dtls(
            self.keys.get,
            self.holders.get,
            lambda data, address: self.sent.append((data, address)),
            lambda data, address: self.heard.append((data, address)),
            self.gone.append,
        )

    def take(self, data, address=HERE, now=1.0):
        self.dtls.received(data, address, now)
        sent, self.sent = self.sent, []
        return [datagram for datagram, _ in sent]

    def shake(self, client, address=HERE, now=1.0):
        """Go through a handshake; return whether there is a session then."""
        for _ in range(12):
            out = client.step()
            if client.done and not out:
                break
            for datagram in self.take(out, address, now):
                client.buffer.receive_from_network(datagram)
        return self.dtls.principal_of(address) is not None


@pytest.fixture
def server():
    return Server()


@pytest.mark.parametrize("suite", dtls.SUITES)
def test_who_has_the_key_is_whom_the_identity_stands_for(server, suite):
    client = Client(suites=(suite,))
    assert server.shake(client)
    assert server.dtls.principal_of(HERE) is LAMP
    server.take(client.say(b"hello"))
    assert server.heard == [(b"hello", HERE)]
    server.dtls.send(b"answer", HERE)
    assert client.hear(server.sent.pop()[0]) == b"answer"


@pytest.mark.parametrize(
    ("identity", "key"),
    [("lamp", b"another key 1234"), ("admin", KEY), ("site:admin", KEY), ("device:lamp", KEY)],
)
def test_nobody_else_gets_in(server, identity, key):
    with contextlib.suppress(dtls.TLSError):
        assert not server.shake(Client(identity, key))
    assert not server.dtls.sessions


def test_an_identity_without_a_holder_is_nobody(server):
    """It was revoked between the key exchange and the end of the handshake."""
    server.holders.clear()
    assert not server.shake(Client())


def test_a_first_hello_gets_a_cookie_and_leaves_nothing(server):
    hello = Client().step()
    for number in range(1000):
        answers = server.take(hello, ("10.0.0.1", number))
        assert sum(map(len, answers)) <= len(hello), "it must not amplify"
    assert not server.dtls._handshakes


def test_a_cookie_counts_for_its_own_address(server):
    client = Client()
    (cookie,) = server.take(client.step())
    client.buffer.receive_from_network(cookie)
    server.take(client.step(), ("10.0.0.1", 7))
    assert not server.dtls._handshakes


def test_a_record_counts_once(server):
    client = Client()
    server.shake(client)
    record = client.say(b"open the door")
    server.take(record)
    server.take(record)
    assert len(server.heard) == 1


def test_forged_records_change_nothing(server):
    client = Client()
    server.shake(client)
    record = client.say(b"one")
    for at in range(len(record)):
        forged = bytearray(record)
        forged[at] ^= 1
        server.take(bytes(forged))
    alert = b"\x15\xfe\xfd\x00\x00" + bytes(6) + b"\x00\x02\x02\x28"
    server.take(alert)
    server.take(record)
    assert (b"one", HERE) in server.heard
    assert server.dtls.principal_of(HERE) is LAMP


def test_a_client_that_lost_its_session_comes_again(server):
    server.shake(Client())
    old = server.dtls.sessions[HERE]
    again = Client()
    for datagram in server.take(again.step()):
        again.buffer.receive_from_network(datagram)
    assert server.dtls.sessions[HERE] is old, "a hello alone ends nothing"
    assert server.shake(again)
    assert server.dtls.sessions[HERE] is not old
    assert server.gone == [HERE]
    server.take(again.say(b"back"))
    assert server.heard == [(b"back", HERE)]


def test_close_notify_ends_a_session(server):
    client = Client()
    server.shake(client)
    client.buffer.shutdown()
    server.take(client.out())
    assert not server.dtls.sessions
    assert server.gone == [HERE]


def test_a_revoked_credential_ends_its_sessions(server):
    client = Client()
    server.shake(client)
    server.dtls.end_of({"psk:other"})
    assert server.dtls.sessions
    server.dtls.end_of({"psk:lamp"})
    assert not server.dtls.sessions
    with pytest.raises(dtls.TLSError, match="closed"):
        client.hear(server.sent.pop()[0])


def test_the_idle_and_the_slow_are_forgotten(server):
    server.shake(Client(), now=1.0)
    slow = Client()
    for datagram in server.take(slow.step(), ("10.0.0.2", 1)):
        slow.buffer.receive_from_network(datagram)
    server.take(slow.step(), ("10.0.0.2", 1))
    assert server.dtls._handshakes
    server.dtls.sweep(1.0 + dtls.HANDSHAKE_SECONDS)
    assert not server.dtls._handshakes
    assert server.dtls.sessions
    server.dtls.sweep(1.0 + dtls.IDLE_SECONDS)
    assert not server.dtls.sessions


def test_who_was_silent_for_longest_gives_way(server, monkeypatch):
    monkeypatch.setattr(dtls, "SESSIONS", 2)
    clients = [Client() for _ in range(3)]
    for number, client in enumerate(clients[:2]):
        server.shake(client, ("10.0.0.1", number), now=number)
    server.take(clients[0].say(b"x"), ("10.0.0.1", 0), now=5.0)
    server.shake(clients[2], ("10.0.0.1", 2), now=6.0)
    assert sorted(server.dtls.sessions) == [("10.0.0.1", 0), ("10.0.0.1", 2)]


def test_handshakes_are_bounded(server, monkeypatch):
    monkeypatch.setattr(dtls, "HANDSHAKES", 4)
    for number in range(10):
        client, address = Client(), ("10.0.0.3", number)
        for datagram in server.take(client.step(), address):
            client.buffer.receive_from_network(datagram)
        server.take(client.step(), address)
    assert len(server.dtls._handshakes) == 4


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(0, 300), st.binary(max_size=3))
def test_no_datagram_breaks_it(datagrams, at, patch):
    server, client = Server(), Client()
    for datagram in datagrams:
        server.take(datagram)
        server.take(b"\x16\xfe\xfd" + datagram)
    for _ in range(3):
        record = bytearray(client.step())
        record[at : at + len(patch)] = patch
        for answer in server.take(bytes(record)):
            with contextlib.suppress(dtls.TLSError, dtls.WantReadError):
                client.buffer.receive_from_network(answer)
        with contextlib.suppress(dtls.TLSError):
            client.step()
    server.dtls.close()
