"""Endpoints whose binding says that they speak CBOR: JSON there, JSON back, and nothing lost."""

import asyncio

import cbor2
import pytest

from adapters.coap.wire import options as o
from adapters.coap.wire.codec import ACK, Message, code_of, decode, encode
from gateway.message import Refusal, Status
from policy.model import ResolutionPolicy
from policy.resolution import STATIC, Source, compile_selection
from registry.model import Endpoint
from registry.names import Name
from tests.adapters.devices import calls, scripted
from tests.running import Gateway

JSON, CBOR = b"application/json", b"application/cbor"
NAME = Name("s/m")


class Heard:
    """A server that keeps what it was asked, and answers with a payload of its own."""

    def __init__(self, payload: bytes, form: int = 60, code: str = "2.04") -> None:
        self.payload, self.form, self.code = payload, form, code_of(code)
        self.asked: list[Message] = []

    def __call__(self, server, data, address):
        message = decode(data)
        self.asked.append(message)
        options = [(o.CONTENT_FORMAT, o.uint_value(self.form))]
        answer = Message(ACK, self.code, message.message_id, message.token, options, self.payload)
        server.transport.sendto(encode(answer), address)

    @property
    def forms(self):
        """Content-Format and Accept of the last request."""
        message = self.asked[-1]
        found = (message.value(o.CONTENT_FORMAT), message.value(o.ACCEPT))
        return tuple(None if value is None else o.uint(value) for value in found)


async def call(heard, payload, content_type=JSON, encoding="cbor", accept=b""):
    async with scripted(heard) as server, calls() as world:
        url = f"coap://127.0.0.1:{server.port}/m"
        world.method(NAME, url)
        sources = [Source(STATIC, Endpoint(url, "POST", {}, encoding), "")]
        route = world.view.routes[NAME]
        policy = ResolutionPolicy(("**",))
        route.selection = compile_selection(NAME, sources, policy, world.view.health_of)
        fields = [b"Accept", b": ", accept, b"\r\n"] if accept else []
        return await world.ask(NAME, payload, content_type=content_type, fields=fields)


async def test_json_goes_as_cbor_and_comes_back_as_json():
    heard = Heard(cbor2.dumps({"kcal": [1, 2.5, None], "é": True}))
    head, body = await call(heard, b'{"day": 3}')
    assert cbor2.loads(heard.asked[0].payload) == {"day": 3}
    assert heard.forms == (60, 60)
    assert (head.status, head.content_type) == (Status.OK, JSON)
    assert body == '{"kcal":[1,2.5,null],"é":true}'.encode()


async def test_a_payload_of_no_stated_type_is_taken_for_json():
    heard = Heard(b"\x01")
    head, body = await call(heard, b"[1]", content_type=b"")
    assert (heard.asked[0].payload, heard.forms) == (b"\x81\x01", (60, 60))
    assert (head.content_type, body) == (JSON, b"1")


async def test_who_speaks_cbor_is_not_translated_for():
    heard = Heard(b"\x82\x01\x02")
    head, body = await call(heard, b"\x81\x01", content_type=CBOR)
    assert (heard.asked[0].payload, heard.forms) == (b"\x81\x01", (60, 60))
    assert (head.content_type, body) == (CBOR, b"\x82\x01\x02")
    head, body = await call(heard, b"[1]", accept=CBOR)
    assert (heard.asked[-1].payload, head.content_type, body) == (
        b"\x81\x01",
        CBOR,
        b"\x82\x01\x02",
    )


async def test_text_and_other_accepted_types_pass_as_they_are():
    heard = Heard(b"hello", form=0)
    head, body = await call(heard, b"{}", content_type=b"text/plain", accept=b"text/plain")
    assert (heard.asked[0].payload, heard.forms) == (b"{}", (0, 0))
    assert body == b"hello"
    assert head.content_type.startswith(b"text/plain")


async def test_without_the_encoding_nothing_is_translated():
    heard = Heard(b"\x01")
    head, body = await call(heard, b"[1]", encoding="")
    assert (heard.asked[0].payload, heard.forms) == (b"[1]", (50, None))
    assert (head.content_type, body) == (CBOR, b"\x01")


async def test_an_error_in_cbor_is_an_error_in_json():
    heard = Heard(cbor2.dumps({"why": "busy"}), code="4.09")
    head, body = await call(heard, b"{}")
    assert (head.status, head.content_type, body) == (Status.CONFLICT, JSON, b'{"why":"busy"}')


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"[" * 100 + b"]" * 100])
async def test_what_is_no_json_does_not_reach_the_endpoint(payload):
    heard = Heard(b"\x01")
    with pytest.raises(Refusal, match="the endpoint takes CBOR") as refused:
        await call(heard, payload)
    assert refused.value.status is Status.BAD_REQUEST
    assert not heard.asked


@pytest.mark.parametrize("payload", [b"\x41\x00", b"\xf9\x7c\x00", b"\xa1\x01\x02", b"\x82\x01"])
async def test_a_reply_that_json_cannot_hold_is_the_providers_error(payload):
    with pytest.raises(Refusal, match="not CBOR that JSON can hold") as refused:
        await call(Heard(payload), b"{}")
    assert refused.value.status is Status.PROVIDER_ERROR


async def test_a_manifest_says_it_and_only_of_coap(running_site: Gateway):
    heard = Heard(b"\x18\x2a")
    async with scripted(heard) as server:
        endpoint = {"url": f"coap://127.0.0.1:{server.port}/m", "encoding": "cbor"}
        methods = {"read": {"endpoints": [endpoint]}}
        objects = [{"name": "Encoded", "methods": methods}]
        await asyncio.to_thread(
            running_site.register, {"microservice": "Encoded", "instance": "a", "objects": objects}
        )
        reply = await asyncio.to_thread(
            running_site.http, "POST", "/Encoded/read", b"{}", content_type="application/json"
        )
        assert (reply.status, reply.body) == (200, b"42")
    endpoint["url"] = "http://127.0.0.1:9/m"
    with pytest.raises(Exception, match="a http endpoint has no encoding"):
        await asyncio.to_thread(
            running_site.register, {"microservice": "Encoded", "instance": "b", "objects": objects}
        )
