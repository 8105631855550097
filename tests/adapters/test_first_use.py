"""First uses on a running site: callers and controllers on real sockets (design 7, S3 III-F)."""

import asyncio
import json
from itertools import count

import pytest
import pytest_asyncio

from tests.adapters.live import LiveSite, live_site, until
from tests.adapters.relay import echo, read_request, service
from tests.adapters.sockets import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
_objects = count(1)


class Desk:
    """A policy controller behind HTTP whose answers a test decides."""

    def __init__(self):
        self.questions = []
        self.answer = {"allow": True}
        self.delay = 0.0
        self.raw = None
        self.url = ""

    async def talk(self, reader, writer):
        while True:
            head, body = await read_request(reader)
            if not head:
                return
            question = json.loads(body)
            self.questions.append(question)
            if self.delay:
                await asyncio.sleep(self.delay)
            answer = self.answer(question) if callable(self.answer) else self.answer
            reply = json.dumps(answer).encode() if self.raw is None else self.raw
            fields = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(reply)
            writer.write(b"HTTP/1.1 200 OK\r\n" + fields + reply)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    async with live_site(tmp_path_factory.mktemp("site")) as made:
        yield made


class Place(LiveSite):
    """An object, its controller, and a user without any right."""

    async def begin(self):
        await super().begin()
        self.ann = await self.token_for(self.who)

    @property
    def who(self):
        return f"user:ann{self.object[4:]}"

    @property
    def desk_name(self):
        return f"Desk{self.object[4:]}/decide"

    async def apply(self, kind, name, spec):
        await super().apply(kind, name, spec)
        self._policies = [dict(p) for p in {tuple(p.items()): p for p in self._policies}]

    async def cover(self, **policy):
        """Ask the desk about the object from now on."""
        spec = {"names": [f"{self.object}/**"], "call": self.desk_name, "timeout": 5000, **policy}
        await self.apply("FirstUsePolicy", "first", spec)

    async def http_desk(self, url, owner=None):
        document = {
            "apiVersion": "hilum/v1",
            "microservice": self.desk_name.split("/")[0],
            "version": "1.0.0",
            "instance": "a",
            "lease": 3600,
            "objects": [
                {
                    "name": self.desk_name.split("/")[0],
                    "methods": {"decide": {"endpoints": [{"url": url}]}},
                }
            ],
        }
        answer = await self.ask(
            "POST", "/$site/registry/register", json.dumps(document).encode(), token=owner
        )
        assert answer.status == 200, answer

    async def post(self, member="steps", body=b"7", token=None):
        return await self.ask("POST", self.path(member), body, token=token or self.ann)


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared):
    mine = Place(shared.application, shared.state, f"Band{next(_objects)}")
    await mine.begin()
    yield mine
    await mine.end()


@pytest_asyncio.fixture(loop_scope="module")
async def desk(site):
    """A desk behind HTTP that is registered and asked."""
    made = Desk()
    async with service(made.talk) as url:
        made.url = url
        await site.http_desk(url)
        yield made


class TestHttp:
    async def test_a_first_use_is_held_asked_and_kept(self, site, desk):
        assert (await site.post()).status == 403
        await site.cover()
        assert (await site.post()).status == 200
        assert (await site.post()).status == 200
        (question,) = desk.questions
        assert question["principal"] == site.who
        assert question["action"] == "publish"
        assert question["name"] == site.name("steps")
        assert question["environment"]["threat"] == 0
        assert question["environment"]["time"] > 1e9

    async def test_many_at_once_ask_once(self, site, desk):
        await site.cover()
        desk.delay = 0.1
        answers = await asyncio.gather(*(site.post() for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert len(desk.questions) == 1

    async def test_a_deny_says_why_to_those_who_may_know(self, site, desk):
        await site.cover(deny=0)
        desk.answer = {"allow": False, "reason": "not on the list"}
        answer = await site.post()
        assert answer.status == 403
        assert b"not on the list" not in answer.body
        await site.allow("describe", "describe", site.who, f"{site.object}/**")
        assert b"not on the list" in (await site.post()).body
        assert len(desk.questions) == 2

    async def test_a_large_body_waits_unread(self, site, desk):
        await site.cover(timeout=2000)
        desk.delay = 0.3
        answer = await site.post(body=b"x" * 900_000)
        assert answer.status == 200, answer

    @pytest.mark.parametrize(
        "raw", [b"", b"yes", b'{"allow": 1}', b"[" * 100_000, b'{"allow": true}' * 2]
    )
    async def test_a_controller_that_lies_is_none(self, site, desk, raw):
        await site.cover()
        desk.raw = raw
        assert (await site.post()).status == 403
        desk.raw = None
        assert (await site.post()).status == 200  # it flaps: errors are never kept

    async def test_a_slow_one_is_not_waited_for(self, site, desk):
        await site.cover(timeout=100)
        desk.delay = 5.0
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert (await site.post()).status == 403
        assert loop.time() - began < 4
        await site.cover(timeout=100, unreachable="allow")
        assert (await site.post()).status == 200

    async def test_a_dead_one_denies(self, site):
        await site.http_desk("http://127.0.0.1:9/")
        await site.cover()
        assert (await site.post()).status == 403

    async def test_the_controller_itself_is_never_asked_about(self, site, desk):
        await site.apply("FirstUsePolicy", "all", {"names": ["**"], "call": site.desk_name})
        path = f"/{site.desk_name}"
        assert (await site.ask("POST", path, b"{}", token=site.ann)).status == 403
        assert desk.questions == []


class TestChanges:
    async def test_a_threat_ends_a_stream_and_calls(self, site, desk):
        await site.cover()
        desk.answer = lambda q: {
            "allow": q["environment"]["threat"] < 5,
            "reads": ["environment.threat"],
        }
        reader, writer = await site.connect()
        writer.write(
            (
                site.head("GET", site.path("steps"), "Accept: text/event-stream", token=site.ann)
                + "\r\n"
            ).encode()
        )
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert (await site.post()).status == 200
        await reader.readuntil(b"data: 7")
        await site.apply("Environment", "threat", {"threat": 3})
        assert (await site.post()).status == 200  # asked again, and still allowed
        await reader.readuntil(b"data: 7")
        await site.apply("Environment", "threat", {"threat": 9})
        await asyncio.wait_for(reader.readuntil(b"event: end"), 5)
        assert (await site.post()).status == 403

    async def test_a_stream_of_a_window_of_time_ends_with_it(self, site, desk):
        await site.cover()
        desk.answer = lambda q: {
            "allow": len(desk.questions) < 2,
            "reads": ["environment.time"],
            "until": q["environment"]["time"] + 2,
        }
        client = await Client.open(site, site.ann)
        reply = await client.ask("subscribe", id=1, name="Band/steps")
        assert reply["status"] == "ok"
        end = await client.op("end")
        assert end["sub"] == 1
        assert len(desk.questions) == 2

    async def test_a_revocation_ends_what_is_open(self, site, desk):
        await site.cover()
        client = await Client.open(site, site.ann)
        assert (await client.ask("subscribe", id=1, name="Band/steps"))["status"] == "ok"
        desk.answer = {"allow": False}
        answer = await site.call("policy/revoke", {"principal": site.who})
        assert answer["durable"]
        assert (await client.op("end"))["sub"] == 1
        reply = await client.ask("publish", name="Band/steps", payload=1)
        assert reply["status"] == "denied"

    async def test_decide_relays_a_question(self, site, desk):
        await site.cover()
        desk.answer = {"allow": True, "reason": "why not"}
        question = {
            "principal": "user:bob",
            "kind": "user",
            "action": "call",
            "name": f"{site.object}/add",
        }
        answer = await site.call("policy/decide", question)
        assert answer["allow"] is True
        assert answer["reason"] == "why not"
        assert desk.questions[0]["name"] == site.name("add")


class TestPolicies:
    @pytest_asyncio.fixture(loop_scope="module")
    async def service_desk(self, site):
        """A desk that belongs to a service, which may apply policies but not about the object."""
        made = Desk()
        who = f"service:desk{site.object[4:]}"
        token = await site.token_for(who, "service")
        await site.allow("desk", "register bind", who, site.desk_name.replace("decide", "**"))
        await site.allow("desk-apply", "call", who, "$site/policy/apply")
        async with service(made.talk) as url:
            await site.http_desk(url, token)
            await site.cover()
            yield made, who

    def manifest(self, site, **metadata):
        spec = {
            "effect": "allow",
            "subjects": [{"principal": site.who}],
            "actions": ["publish", "subscribe"],
            "names": [f"{site.object}/steps"],
        }
        name = f"{site.object}-made".lower()
        return {
            "apiVersion": "hilum/v1",
            "kind": "AccessPolicy",
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }

    async def test_they_need_the_rights_of_the_controller(self, site, service_desk):
        desk, who = service_desk
        desk.answer = {"allow": True, "policies": [self.manifest(site)]}
        assert (await site.post()).status == 403
        await site.allow("desk-rights", "administer", who, f"{site.object}/**")
        assert (await site.post()).status == 200
        answer = await site.ask("GET", site.path("steps"), token=site.ann)
        assert answer.status == 200  # by the policy, nobody was asked
        assert len(desk.questions) == 2
        made = {"kind": "AccessPolicy", "name": f"{site.object}-made".lower()}
        (item,) = (await site.call("policy/get", made))["items"]
        assert item["metadata"]["expires"] > 1e9
        assert item["metadata"]["labels"] == {"hilum/first-use-of": site.who}
        desk.answer = {"allow": False}
        answer = await site.call("policy/revoke", {"principal": site.who})
        assert answer["withdrawn"] == [f"AccessPolicy/{made['name']}"]
        assert (await site.post()).status == 403
        assert (await site.ask("GET", site.path("steps"), token=site.ann)).status == 403

    async def test_they_end_when_they_say(self, site, service_desk):
        desk, who = service_desk
        await site.allow("desk-rights", "administer", who, f"{site.object}/**")
        desk.answer = {"allow": True, "hard": 0, "policies": [self.manifest(site, ttl=1)]}
        assert (await site.post()).status == 200
        desk.answer = {"allow": False}
        policies = site.application.site.policies
        key = ("AccessPolicy", f"{site.object}-made".lower())
        assert key in policies.specs()
        await until(lambda: key not in policies.specs())
        assert (await site.post()).status == 403

    @pytest.mark.parametrize("policy", [{}, {"metadata": {}}, {"metadata": {"name": "x"}}])
    async def test_what_is_no_policy_is_no_answer(self, site, service_desk, policy):
        desk, _ = service_desk
        desk.answer = {"allow": True, "policies": [policy]}
        assert (await site.post()).status == 403

    async def test_a_revocation_may_speak_of_some_names(self, site, desk):
        await site.cover()
        assert (await site.post("steps")).status == 200
        assert (await site.post("kept")).status == 200
        desk.answer = {"allow": False}
        some = {"principal": site.who, "name": f"{site.object}/steps"}
        await site.call("policy/revoke", some)
        assert (await site.post("steps")).status == 403
        assert (await site.post("kept")).status == 200

    @pytest.mark.parametrize(
        "asked", [{"principal": "ann"}, {"principal": "user:ann", "name": "a/**/b"}, {}]
    )
    async def test_a_revocation_has_to_say_whose_rights_end(self, site, asked):
        body = json.dumps(asked).encode()
        assert (await site.ask("POST", "/$site/policy/revoke", body)).status in (400, 422)


async def test_an_answer_may_oblige(site, desk):
    seen = []
    async with service(echo(seen)) as url:
        await site.register(
            instance="http",
            objects=[{"name": site.object, "methods": {"sum": {"endpoints": [{"url": url}]}}}],
        )
        await site.cover()
        duties = {"headers": {"X-Ward": "7"}, "mask": ["/secret"]}
        desk.answer = {"allow": True, "obligations": duties}
        for _ in range(2):  # held, then kept
            answer = await site.post("sum", b'{"secret": 1, "n": 2}')
            assert (answer.status, answer.json()) == (200, {"secret": None, "n": 2})
    assert len(desk.questions) == 1
    assert all(b"\r\nX-Ward: 7\r\n" in head for head, _ in seen)


async def test_explanations_tell_of_first_uses(site, desk):
    asked = {"principal": site.who, "kind": "user", "action": "publish"}
    asked["name"] = f"{site.object}/steps"
    reasons = (await site.call("policy/explain", asked))["reasons"]
    assert reasons[0]["policy"] == "built-in"
    await site.cover()
    label = f"FirstUsePolicy/{site.object.lower()}-first"
    found = await site.call("policy/explain", asked)
    assert (found["allowed"], found["reasons"][0]["policy"]) == (False, label)
    assert desk.questions == []
    assert (await site.post()).status == 200
    found = await site.call("policy/explain", asked)
    assert (found["allowed"], found["reasons"][0]["policy"]) == (True, label)


async def test_metrics_show_first_uses(site, desk):
    await site.cover()
    assert (await site.post()).status == 200
    gauges = {g.name: g.read()[""] for g in site.application.first_uses.gauges()}
    assert gauges["hilum_first_use_kept"] > 0
    assert gauges["hilum_first_use_asked"] > gauges["hilum_first_use_failed"]
    assert gauges["hilum_first_use_waiting"] == 0
