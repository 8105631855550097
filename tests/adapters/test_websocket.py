"""The WebSocket facade on real sockets: what a client can ask, hear and provide."""

import asyncio
import base64
from itertools import count

import msgspec
import pytest
import pytest_asyncio

from adapters.http.websockets import session
from tests.adapters.live import LiveSite, live_site, until
from tests.adapters.relay import echo, service
from tests.adapters.sockets import UPGRADE, Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
_objects = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    async with live_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared):
    """The module's site, with an object of the test's own."""
    mine = LiveSite(shared.application, shared.state, f"Band{next(_objects)}")
    await mine.begin()
    yield mine
    await mine.end()


@pytest_asyncio.fixture(loop_scope="module")
async def client(site):
    return await Client.open(site)


async def http_call(site, member, body=b"{}", *lines, token=None):
    return await site.ask(
        "POST", f"/Band/{member}", body, "Content-Type: application/json", *lines, token=token
    )


class TestCalls:
    async def test_a_method_of_the_site(self, client):
        reply = await client.ask(
            "call", name="$site/registry/list", args={"prefix": client.site.object}
        )
        assert reply["status"] == "ok"
        assert reply["contentType"] == "application/json"

    async def test_a_service_behind_http(self, site, client):
        seen = []
        async with service(echo(seen)) as url:
            await site.register(
                instance="http",
                objects=[{"name": site.object, "methods": {"sum": {"endpoints": [{"url": url}]}}}],
            )
            await site.apply(
                "ResolutionPolicy",
                "http",
                {"names": [f"{site.object}/sum"], "choices": [{"instance": "http"}]},
            )
            reply = await client.ask("call", name="Band/sum", args={"n": [1, 2.50]})
        (head, body), *_ = seen
        assert body == b'{"n": [1, 2.5]}'
        assert b"\r\nContent-Type: application/json\r\n" in head
        assert reply["status"] == "ok"
        assert reply["origin"] == "provider"
        assert reply["code"] == 200
        assert reply["payload"] == '{"n": [1, 2.5]}'

    async def test_ids_are_echoed_whatever_they_are(self, client):
        for key in (0, -5, "a", "é", 2**53):
            reply = await client.ask("describe", id=key, name=client.site.object)
            assert reply["id"] == key
            assert reply["status"] == "ok"

    async def test_errors_are_problems(self, client):
        reply = await client.ask("call", name="Band/ad")
        assert reply["status"] == "not-found"
        assert reply["problem"]["status"] == 404
        assert reply["problem"]["near"] == [client.site.name("add")]
        reply = await client.ask("call", name="Band/add")
        assert reply["status"] == "unavailable"
        assert reply["retryAfter"] == 1
        reply = await client.ask("call", name="Band/steps")
        assert reply["status"] == "bad-request"
        assert "is of kind channel, not method" in reply["problem"]["detail"]
        reply = await client.ask("call", name="..")
        assert reply["status"] == "bad-request"

    async def test_everything_is_decided(self, site):
        token = await site.token_for("user:ann")
        client = await Client.open(site, token)
        for op in ("call", "describe", "get", "publish"):
            assert (await client.ask(op, name="Band/add"))["status"] == "denied"
        assert (await client.ask("subscribe", name="Band/steps"))["status"] == "denied"
        assert (await client.ask("provide", name="Band/add"))["status"] == "denied"
        anonymous = await Client.open(site, "")
        assert (await anonymous.ask("call", name="Band/add"))["status"] == "unauthenticated"

    async def test_a_call_has_a_deadline(self, site, client):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        reply = await client.ask("call", name="Band/add", timeout=50)
        assert reply["status"] == "timeout"
        asked = await provider.op("call")
        assert asked["timeout"] <= 50
        assert (await provider.op("cancel"))["id"] == asked["id"]

    @pytest.mark.parametrize("trace", ["00-1\r\nX: y", "é", "x" * 513])
    async def test_a_trace_fits_into_a_header_field(self, client, trace):
        reply = await client.ask("call", name="Band/add", traceparent=trace)
        assert reply["status"] == "bad-request"

    async def test_an_id_is_used_once_at_a_time(self, site, client):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        client.say(op="call", id=1, name="Band/add")
        client.say(op="call", id=1, name="Band/add")
        reply = await client.op("reply")
        assert reply["status"] == "conflict"
        provider.say(op="reply", id=(await provider.op("call"))["id"])
        assert (await client.op("reply"))["status"] == "ok"

    async def test_unanswered_calls_are_limited(self, site, client, monkeypatch):
        monkeypatch.setattr(session, "CALLS", 2)
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        for key in range(3):
            client.say(op="call", id=key, name="Band/add")
        reply = await client.op("reply")
        assert (reply["id"], reply["status"]) == (2, "throttled")

    async def test_a_reply_that_is_too_large(self, site, client, monkeypatch):
        small = msgspec.structs.replace(site.application.config.limits, message=1000)
        monkeypatch.setattr(site.application.sockets, "limits", small)
        await site.publish("steps", "x" * 2000)
        reply = await client.ask("get", name="Band/steps")
        assert reply["status"] == "too-large"


class TestChannels:
    async def test_publish_get_and_payloads_of_all_kinds(self, client):
        for sent, got in (
            ({"payload": {"a": [1]}}, {"payload": {"a": [1]}, "contentType": "application/json"}),
            ({"payload": None}, {"payload": None, "contentType": "application/json"}),
            ({"args": {"a": 1}}, {"payload": {"a": 1}, "contentType": "application/json"}),
            (
                {"payload": "text é", "contentType": "text/plain"},
                {"payload": "text é", "contentType": "text/plain"},
            ),
            (
                {"payload": "/w==", "encoding": "base64", "contentType": "image/png"},
                {"payload": "/w==", "encoding": "base64", "contentType": "image/png"},
            ),
            (
                {"payload": base64.b64encode(b"hi").decode(), "encoding": "base64"},
                {"payload": "hi", "contentType": "application/octet-stream"},
            ),
        ):
            published = await client.ask("publish", name="Band/steps", **sent)
            assert published["status"] == "ok"
            reply = await client.ask("get", name="Band/steps")
            assert reply["event"] == published["payload"]["id"]
            assert {
                k: v for k, v in reply.items() if k in ("payload", "contentType", "encoding")
            } == got

    async def test_a_publish_without_id_is_not_answered_unless_it_fails(self, client):
        client.say(op="publish", name="Band/steps", payload=1)
        client.say(op="publish", name="Band/nothing", payload=1)
        reply = await client.op("reply")
        assert reply["id"] is None
        assert reply["status"] == "not-found"
        assert (await client.ask("get", name="Band/steps"))["payload"] == 1

    async def test_a_publishers_attributes_reach_subscribers(self, client):
        await client.ask("subscribe", id="s", name="Band/steps")
        said = {"specversion": "1.0", "id": "7", "source": "/b", "type": "é %", "of": 'a "day"'}
        assert (await client.ask("publish", name="Band/steps", attributes=said))["status"] == "ok"
        assert (await client.op("event"))["attributes"] == said
        await client.ask("publish", name="Band/steps", payload=1)
        assert "attributes" not in await client.op("event")

    @pytest.mark.parametrize(
        "attributes",
        [
            {"no name": "1"},
            {"id\r\nx": "1"},
            {"id": "a\0b"},
            {"id": "x" * 9000},
            {f"a{n}": "" for n in range(33)},
            {"id": 1},
        ],
    )
    async def test_what_no_attribute_is_is_refused(self, client, attributes):
        reply = await client.ask("publish", name="Band/steps", attributes=attributes)
        assert reply["status"] == "bad-request"

    async def test_subscribe(self, site, client):
        reply = await client.ask("subscribe", id="s", name="Band/steps")
        assert reply == {"op": "reply", "id": "s", "status": "ok", "sub": "s"}
        (first,) = await site.publish("steps", '{"n": 1}', kind="application/json")
        event = await client.op("event")
        assert event.pop("time") > 1_700_000_000_000
        assert event.pop("source")
        assert event == {
            "op": "event",
            "sub": "s",
            "id": first,
            "name": site.name("steps"),
            "contentType": "application/json",
            "payload": {"n": 1},
        }
        assert (await client.ask("unsubscribe", sub="s"))["status"] == "ok"
        assert (await client.ask("unsubscribe", sub="s"))["status"] == "not-found"
        await site.publish("steps", "unheard")
        assert (await client.ask("get", name="Band/steps"))["payload"] == "unheard"
        assert client.messages == []

    @pytest.mark.parametrize("member", ["steps", "kept"])
    async def test_resume(self, site, client, member):
        ids = await site.publish(member, "a", "b", "c")
        await client.ask("subscribe", id=1, name=f"Band/{member}", after=ids[0])
        assert [(await client.op("event"))["payload"] for _ in range(2)] == ["b", "c"]
        await client.ask("subscribe", id=2, name=f"Band/{member}", after="oldest")
        assert [(await client.op("event"))["payload"] for _ in range(3)] == ["a", "b", "c"]
        await client.ask("subscribe", id=3, name=f"Band/{member}", after="other-7")
        gap = await client.op("gap")
        assert gap == {
            "op": "gap",
            "sub": 3,
            "id": f"{ids[0].partition('-')[0]}-0",
            "reason": "foreign",
            "after": "other-7",
            "lost": None,
        }

    async def test_what_cannot_be_subscribed_to(self, client):
        for document, status in (
            ({"name": "Band/steps", "after": "x"}, "bad-request"),
            ({"name": "Band/steps", "after": "x-1", "group": "g"}, "bad-request"),
            ({"name": "Band/add"}, "bad-request"),
            ({"name": "Band/nothing"}, "not-found"),
        ):
            assert (await client.ask("subscribe", **document))["status"] == status
        assert (await client.ask("subscribe", id=7, name="Band/steps"))["status"] == "ok"
        assert (await client.ask("subscribe", id=7, name="Band/steps"))["status"] == "conflict"

    async def test_subscriptions_are_limited(self, client, monkeypatch):
        monkeypatch.setattr(session, "SUBSCRIPTIONS", 1)
        await client.ask("subscribe", name="Band/steps")
        assert (await client.ask("subscribe", name="Band/steps"))["status"] == "throttled"

    async def test_groups(self, site, client):
        other = await Client.open(site)
        for one in (client, other):
            await one.ask("subscribe", id=1, name="Band/steps", group="g")
        await site.publish("steps", *"abcd")
        assert [(await client.op("event"))["payload"] for _ in range(2)] == ["a", "c"]
        assert [(await other.op("event"))["payload"] for _ in range(2)] == ["b", "d"]

    async def test_a_subscription_that_policy_ends(self, site):
        token = await site.token_for("user:ann")
        await site.allow("ann", "subscribe describe", "user:ann")
        client = await Client.open(site, token)
        await client.ask("subscribe", id=1, name="Band/steps")
        await site.delete("ann")
        end = await client.op("end")
        assert (end["sub"], end["status"]) == (1, "denied")

    async def test_a_destroyed_channel(self, site, client):
        await client.ask("subscribe", id=1, name="Band/steps")
        await site.call(
            "registry/deregister",
            {"microservice": site.object, "version": "1.0.0", "instance": "a"},
        )
        assert (await client.op("end"))["status"] == "not-found"


class TestProviding:
    async def test_a_service_behind_nat(self, site):
        provider = await Client.open(site)
        reply = await provider.ask("provide", name="Band/add")
        assert reply["status"] == "ok"
        assert reply["name"] == site.name("add")
        calling = asyncio.ensure_future(http_call(site, "add", b'{"a": 1}'))
        asked = await provider.op("call")
        assert asked["name"] == site.name("add")
        assert asked["payload"] == {"a": 1}
        assert asked["contentType"] == "application/json"
        assert asked["principal"]
        assert 0 < asked["timeout"] <= 30_000
        provider.say(op="reply", id=asked["id"], payload={"sum": 2})
        answer = await calling
        assert answer.status == 200
        assert answer.json() == {"sum": 2}
        assert "\r\nContent-Type: application/json" in answer.head

    async def test_answers_of_all_kinds(self, site):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        for document, status, body in (
            ({}, 200, b""),
            ({"payload": "hi", "contentType": "text/plain"}, 200, b"hi"),
            ({"payload": "/w==", "encoding": "base64"}, 200, b"\xff"),
            ({"status": "not-found", "payload": {"x": 1}}, 404, b'{"x": 1}'),
            ({"status": "invalid", "detail": "no a"}, 422, b'"detail": "no a"'),
        ):
            calling = asyncio.ensure_future(http_call(site, "add"))
            asked = await provider.op("call")
            provider.say(op="reply", id=asked["id"], **document)
            answer = await calling
            assert answer.status == status
            assert body in answer.body
            if status != 200:
                assert "Hilum-Origin: provider" in answer.head

    async def test_a_bad_answer_is_told_to_the_provider(self, site):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        calling = asyncio.ensure_future(http_call(site, "add"))
        asked = await provider.op("call")
        provider.say(op="reply", id=asked["id"], status="whatever")
        assert (await provider.op("reply"))["problem"]["detail"].startswith("status")
        provider.say(op="reply", id=asked["id"])
        assert (await calling).status == 200

    async def test_one_client_calls_another(self, site, client):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        client.say(op="call", id="c", name="Band/add", payload="x", contentType="text/plain")
        asked = await provider.op("call")
        assert (asked["payload"], asked["contentType"]) == ("x", "text/plain")
        provider.say(op="reply", id=asked["id"], status="conflict", payload=[1])
        reply = await client.op("reply")
        assert reply == {
            "op": "reply",
            "id": "c",
            "status": "conflict",
            "origin": "provider",
            "code": 409,
            "contentType": "application/json",
            "payload": [1],
        }

    async def test_a_provider_that_leaves_fails_its_calls(self, site):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        calling = asyncio.ensure_future(http_call(site, "add"))
        await provider.op("call")
        provider.gone()
        answer = await calling
        assert answer.status == 503
        assert "closed" in answer.json()["detail"]
        answer = await http_call(site, "add")
        assert answer.status == 503
        assert "no live endpoint" in answer.json()["detail"]

    async def test_an_idempotent_call_goes_to_another_provider(self, site):
        first, second = await Client.open(site), await Client.open(site)
        for one in (first, second):
            await one.ask("provide", name="Band/sum")
        calling = asyncio.ensure_future(http_call(site, "sum"))
        await until_called(first, second)
        asked, other = (first, second) if first.messages else (second, first)
        asked.gone()
        again = await other.op("call")
        other.say(op="reply", id=again["id"], payload=1)
        assert (await calling).status == 200

    async def test_a_caller_that_leaves_cancels(self, site, client):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        client.say(op="call", id=1, name="Band/add")
        asked = await provider.op("call")
        client.gone()
        assert (await provider.op("cancel"))["id"] == asked["id"]
        provider.say(op="reply", id=asked["id"])
        assert (await provider.ask("describe", name=site.object))["status"] == "ok"

    async def test_withdraw(self, site):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        assert (await provider.ask("provide", name="Band/add"))["status"] == "conflict"
        assert (await provider.ask("withdraw", name="Band/add"))["status"] == "ok"
        assert (await provider.ask("withdraw", name="Band/add"))["status"] == "not-found"
        assert (await http_call(site, "add")).status == 503

    async def test_providing_needs_bind_and_a_registered_method(self, site, client):
        assert (await client.ask("provide", name="Band/nothing"))["status"] == "not-found"
        assert (await client.ask("provide", name="Band/steps"))["status"] == "not-found"
        reply = await client.ask("provide", name="$site/registry/register")
        assert reply["status"] == "bad-request"
        token = await site.token_for("service:ann")
        ann = await Client.open(site, token)
        assert (await ann.ask("provide", name="Band/add"))["status"] == "denied"
        await site.allow("ann", "bind", "service:ann", f"{site.object}/**")
        assert (await ann.ask("provide", name="Band/add"))["status"] == "ok"
        await site.delete("ann")
        end = await ann.op("end")
        assert (end["name"], end["status"]) == (site.name("add"), "denied")
        assert (await http_call(site, "add")).status == 503

    async def test_provided_methods_are_limited(self, client, monkeypatch):
        monkeypatch.setattr(session, "PROVIDED", 1)
        await client.ask("provide", name="Band/add")
        assert (await client.ask("provide", name="Band/sum"))["status"] == "throttled"

    async def test_versions_are_resolved_by_policy(self, site):
        await site.register(version="2.0.0")
        old, new = await Client.open(site), await Client.open(site)
        assert (await old.ask("provide", name="Band/add", version="1.0.0"))["status"] == "ok"
        assert (await new.ask("provide", name="Band/add", version="2.0.0"))["status"] == "ok"
        reply = await new.ask("provide", name="Band/sum", version="3.0.0")
        assert reply["status"] == "conflict"
        assert f"{site.object}/1.0.0/a" in reply["problem"]["detail"]
        for version, provider in (("1.0.0", old), ("2.0.0", new)):
            spec = {"names": [f"{site.object}/add"], "choices": [{"version": version}]}
            await site.apply("ResolutionPolicy", version.replace(".", "-"), spec)
            calling = asyncio.ensure_future(http_call(site, "add"))
            asked = await provider.op("call")
            provider.say(op="reply", id=asked["id"])
            assert (await calling).status == 200
            await site.delete(version.replace(".", "-"))

    async def test_a_slow_provider_gets_no_more_calls(self, site, monkeypatch):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        monkeypatch.setattr(session, "BACKLOG", 0)
        answer = await http_call(site, "add")
        assert answer.status == 503
        assert "busy" in answer.json()["detail"]

    async def test_a_payload_that_is_too_large(self, site, monkeypatch):
        provider = await Client.open(site)
        await provider.ask("provide", name="Band/add")
        monkeypatch.setattr(site.application.sockets.provider, "_limit", 10)
        assert (await http_call(site, "add", b'"' + b"x" * 20 + b'"')).status == 413


async def until_called(*clients):
    reading = [asyncio.ensure_future(one.read()) for one in clients]
    await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    for one in reading:
        one.cancel()


class TestAuthentication:
    async def test_a_browser_sends_its_token_first(self, site):
        token = await site.token_for("user:ann")
        await site.allow("ann", "describe", "user:ann")
        client = await Client.open(site, "")
        assert (await client.ask("describe", name=site.object))["status"] == "unauthenticated"
        assert (await client.ask("auth", token="hlm_wrong"))["status"] == "unauthenticated"
        reply = await client.ask("auth", token=token)
        assert reply["principal"] == "user:ann"
        assert (await client.ask("describe", name=site.object))["status"] == "ok"
        other = await site.token_for("user:bob")
        assert (await client.ask("auth", token=other))["status"] == "conflict"
        assert (await client.ask("auth", token=token))["status"] == "ok"

    async def test_a_wrong_token_gets_no_socket(self, site):
        answer = await site.ask("GET", "/$site/socket", b"", *UPGRADE, token="hlm_wrong")
        assert answer.status == 401

    async def test_revocation_closes_the_socket_and_all_it_had(self, site):
        token = await site.token_for("service:ann")
        await site.allow("ann", "call subscribe bind", "service:ann")
        client = await Client.open(site, token)
        await client.ask("provide", name="Band/add")
        await client.ask("subscribe", name="Band/steps")
        await site.call("token/revoke", {"id": token.split("_")[1]})
        close = await client.closed()
        assert (close.code, close.reason) == (1008, "the credential is no longer valid")
        assert (await http_call(site, "add")).status == 503
        assert site.name("steps") not in {
            name for name, topic in site.channels._topics.items() if topic.everyone
        }

    async def test_an_expired_token_is_of_no_use(self, site):
        token = await site.token_for("user:ann")
        client = await Client.open(site, token)
        (mine,) = [
            one for one in site.application.sockets._sessions if one.principal.id == "user:ann"
        ]
        object.__setattr__(mine.principal, "expires", 1.0)
        client.say(op="describe", id=1, name=site.object)
        assert (await client.closed()).code == 1008


async def test_a_site_that_shuts_down_says_goodbye(tmp_path):
    async with live_site(tmp_path, clients_stay=True) as site:
        client = await Client.open(site)
        reading = asyncio.ensure_future(client.closed())
        await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 0.9
    assert (await reading).code == 1001


async def test_pings_find_out_who_is_gone(site, monkeypatch):
    sockets = site.application.sockets
    await until(lambda: not sockets._sessions)
    monkeypatch.setattr(sockets, "_beat_seconds", 0.05)
    alive, dead = await Client.open(site), await Client.open(site)
    reading = asyncio.ensure_future(alive.closed())
    await until(lambda: len(sockets._sessions) == 1)
    await asyncio.sleep(0.15)
    assert len(sockets._sessions) == 1
    assert alive.close is None
    reading.cancel()
    alive.gone()
    await until(lambda: not sockets._sessions)
    assert sockets._timer is None
    dead.gone()
