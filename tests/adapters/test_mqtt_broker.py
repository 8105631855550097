"""Whose session is it: authentication, client ids, take-over, expiry, restarts; real clients."""

import asyncio

import pytest
import pytest_asyncio

from adapters.mqtt.desk.desk import DeskSettings
from gateway.ports import Keep, StoredEvent
from gateway.settings import Mqtt
from tests.adapters.mqtt_site import BAND, mqtt_site, settle

KEPT = {"clean": False, "expiry": 600}


@pytest_asyncio.fixture
async def site(tmp_path):
    async with mqtt_site(tmp_path) as made:
        yield made


class TestAuthentication:
    @pytest.mark.parametrize("version", [4, 5])
    async def test_the_password_is_a_token(self, site, version):
        await site.client("a", version=version)
        assert await site.refused("b", version=version, token="hlm_nonsense") == 0x86

    async def test_without_a_password_nobody_comes_in(self, site):
        code = await site.refused("a", token="")
        assert code == 0x87
        assert "send a token as the password" in site.clients[-1].connack.ReasonString

    async def test_the_log_says_who_is_not_let_in_but_no_password(self, site, caplog):
        caplog.set_level("INFO", "hilum.mqtt")
        await site.refused("lamp", token="hlm_nonsense")
        assert "client 'lamp' is not let in: no bearer token that is valid" in caplog.text
        assert "nonsense" not in caplog.text

    async def test_anonymous_clients_may_do_what_policy_says(self, tmp_path):
        async with mqtt_site(tmp_path, Mqtt(port=0, anonymous=True)) as site:
            await site.allow("guests", "anonymous:mqtt", "subscribe", "Band/steps")
            guest = await site.client("guest", token="")
            assert await guest.subscribe("Band/steps", "Band/heart") == [1, 0x87]
            assert "token as the password" in guest.why
            assert await guest.publish("Band/steps", b"1") == 0x87

    async def test_a_revoked_token_ends_sessions_and_their_subscriptions(self, site):
        token = await site.issue("device:a")
        await site.allow("a", "device:a", "subscribe")
        here = await site.client("here", token=token, **KEPT)
        away = await site.client("away", token=token, **KEPT)
        await here.subscribe("Band/steps")
        await away.subscribe("Band/steps", "Band/+")
        await away.disconnect()
        await site.revoke(token)
        assert await asyncio.wait_for(here.gone, 5) == 0x87
        phone = await site.client("phone")
        await phone.publish("Band/steps", b"secret")
        assert await site.refused("here", token=token, **KEPT) == 0x86
        back = await site.client("away", token=await site.issue("device:a"), **KEPT)
        assert back.present
        assert await back.silent()
        await phone.publish("Band/steps", b"again")
        assert (await back.hear()).payload == b"again"

    async def test_an_expired_token_ends_the_session(self, site):
        client = await site.client("a", token=await site.issue("device:a", lifetime=60))
        site.ahead = 61
        await site.site.sweep_tokens()
        assert await asyncio.wait_for(client.gone, 5) == 0xA0


class TestClientIds:
    async def test_an_empty_one_is_assigned(self, site):
        first, second = await site.client(""), await site.client("")
        assigned = first.connack.AssignedClientIdentifier
        assert assigned.startswith("hilum-")
        assert second.connack.AssignedClientIdentifier != assigned

    async def test_they_are_bounded_and_printable(self, site):
        assert await site.refused("x" * 300) == 0x85
        assert await site.refused("a\x01b") == 0x85
        await site.client("é€ +#/ 😀")

    async def test_a_client_is_told_where_its_replies_come(self, site):
        client = await site.client("me", RequestResponseInformation=1)
        assert client.connack.ResponseInformation == "$reply/me"


class TestTakeOver:
    @pytest.mark.parametrize("version", [4, 5])
    async def test_the_same_client_takes_its_session_over(self, site, version):
        old = await site.client("a", **KEPT)
        await old.subscribe("Band/steps")
        new = await site.client("a", version=version, clean=False, expiry=600)
        assert await asyncio.wait_for(old.gone, 5) == 0x8E
        assert new.present
        await new.publish("Band/steps", b"1")
        assert (await new.hear()).payload == b"1"
        assert not old.messages
        assert site.broker.connected_now == 1

    async def test_nobody_takes_over_the_session_of_another_principal(self, site):
        victim = await site.client("pump", **KEPT)
        await victim.subscribe("Band/steps")
        await site.allow("thief", "device:thief", "subscribe publish", "Band/**")
        thief = await site.client("pump", token=await site.issue("device:thief"), **KEPT)
        assert not thief.present
        await thief.publish("Band/steps", b"1")
        assert (await victim.hear()).payload == b"1"
        assert await thief.silent()
        assert not victim.gone.done()
        assert site.broker.sessions == 2

    async def test_a_clean_start_forgets(self, site):
        old = await site.client("a", **KEPT)
        await old.subscribe("Band/steps")
        await old.disconnect()
        new = await site.client("a", clean=True, expiry=600)
        assert not new.present
        await new.publish("Band/steps", b"1")
        assert await new.silent()

    async def test_a_session_without_expiry_ends_with_its_connection(self, site):
        old = await site.client("a", clean=True)
        await old.subscribe("Band/steps")
        new = await site.client("a", clean=False)
        assert not new.present
        assert site.broker.sessions == 1
        await new.disconnect()
        assert site.broker.sessions == 0


class TestExpiry:
    async def test_what_was_published_meanwhile_is_there(self, site):
        client = await site.client("a", **KEPT)
        await client.subscribe("Band/steps", "Band/heart")
        await client.disconnect()
        phone = await site.client("phone")
        for number in range(3):
            await phone.publish("Band/steps", str(number))
        await phone.publish("Band/heart", b"lost", qos=0)
        back = await site.client("a", **KEPT)
        assert back.present
        assert [(await back.hear()).payload for _ in range(3)] == [b"0", b"1", b"2"]
        assert await back.silent()

    async def test_a_session_ends_when_it_expires(self, site):
        client = await site.client("a", **KEPT)
        await client.subscribe("Band/steps")
        await client.disconnect()
        site.pass_by(599)
        assert site.broker.sessions == 1
        site.pass_by(2)
        assert site.broker.sessions == 0
        assert not (await site.client("a", **KEPT)).present

    async def test_the_last_word_is_in_disconnect(self, site):
        client = await site.client("a", **KEPT)
        await client.disconnect(SessionExpiryInterval=0)
        assert site.broker.sessions == 0
        client = await site.client("b", **KEPT)
        await client.disconnect(SessionExpiryInterval=10)
        site.pass_by(11)
        assert site.broker.sessions == 0

    async def test_it_is_capped(self, tmp_path):
        async with mqtt_site(tmp_path, Mqtt(port=0, session_expiry=100)) as site:
            client = await site.client("a", clean=False, expiry=0xFFFFFFFF)
            assert client.connack.SessionExpiryInterval == 100
            old = await site.client("b", version=4, clean=False)
            await client.disconnect()
            await old.disconnect()
            site.pass_by(99)
            assert site.broker.sessions == 2
            site.pass_by(2)
            assert site.broker.sessions == 0

    async def test_a_site_may_keep_no_sessions(self, tmp_path):
        async with mqtt_site(tmp_path, Mqtt(port=0, session_expiry=0)) as site:
            client = await site.client("a", **KEPT)
            assert client.connack.SessionExpiryInterval == 0
            await client.disconnect()
            assert site.broker.sessions == 0

    async def test_too_many_sessions_are_refused(self, site, monkeypatch):
        settings = DeskSettings(sessions=3, sessions_of_one=2)
        monkeypatch.setattr(site.broker, "_settings", settings)
        await site.client("a")
        await site.client("b")
        assert await site.refused("c") == 0x97
        await site.client("a")  # is there already
        await site.client("c", token=await site.issue("device:other"))
        assert await site.refused("d", token=await site.issue("device:third")) == 0x97


class TestRestart:
    async def test_durable_sessions_come_back(self, tmp_path):
        async with mqtt_site(tmp_path) as site:
            token = site.token
            client = await site.client("a", **KEPT)
            await client.subscribe("Band/steps", id_=7)
            await client.subscribe("Band/+", qos=2)
            await client.disconnect()
            phone = await site.client("phone")
            await phone.publish("Band/steps", b"before")
        async with mqtt_site(tmp_path, welcome=False) as site:
            phone = await site.client("phone", token=token)
            await phone.publish("Band/heart", b"after")
            back = await site.client("a", token=token, **KEPT)
            assert back.present
            heard = [await back.hear(), await back.hear()]
            assert [m.payload for m in heard] == [b"before", b"after"]
            assert heard[0].ids == [7]
            await back.publish("Band/steps", b"now")
            assert (await back.hear()).payload == b"now"
            assert await back.silent()

    async def test_a_durable_channel_goes_on_where_the_session_was(self, tmp_path):
        async with mqtt_site(tmp_path) as site:
            token = site.token
            client = await site.client("a", **KEPT)
            await client.subscribe("Band/kept")
            phone = await site.client("phone")
            await phone.publish("Band/kept", b"1")
            assert (await client.hear()).payload == b"1"
            await client.disconnect()
            # The event is in the log, but the session never heard of it: as in a crash.
            lost = StoredEvent(0, int(site.time() * 1000), "", "site:x", b"2")
            await site.channels._log.append(f"{BAND}/kept", lost, Keep())
        async with mqtt_site(tmp_path, welcome=False) as site:
            back = await site.client("a", token=token, **KEPT)
            assert (await back.hear()).payload == b"2"
            await back.publish("Band/kept", b"3")
            assert (await back.hear()).payload == b"3"
            assert await back.silent()

    async def test_policies_are_asked_again(self, tmp_path):
        async with mqtt_site(tmp_path) as site:
            await site.allow("a", "device:a", "subscribe")
            token = await site.issue("device:a")
            client = await site.client("a", token=token, **KEPT)
            await client.subscribe("Band/steps")
            await client.disconnect()
            await site.forget_policy("a")
            phone = site.token
        async with mqtt_site(tmp_path, welcome=False) as site:
            sender = await site.client("phone", token=phone)
            await sender.publish("Band/steps", b"secret")
            back = await site.client("a", token=token, **KEPT)
            assert back.present
            assert await back.silent()

    async def test_a_session_of_nobody_waits_for_a_valid_token(self, tmp_path):
        async with mqtt_site(tmp_path) as site:
            await site.allow("a", "device:a", "subscribe")
            token = await site.issue("device:a")
            client = await site.client("a", token=token, **KEPT)
            await client.subscribe("Band/kept")
            await client.disconnect()
            await site.revoke(token)
            phone = site.token
        async with mqtt_site(tmp_path, welcome=False) as site:
            sender = await site.client("phone", token=phone)
            await sender.publish("Band/kept", b"1")
            back = await site.client("a", token=await site.issue("device:a"), **KEPT)
            assert back.present
            assert (await back.hear()).payload == b"1"

    async def test_sessions_that_expired_meanwhile_are_gone(self, tmp_path):
        async with mqtt_site(tmp_path) as site:
            await (await site.client("a", clean=False, expiry=1)).disconnect()
        await asyncio.sleep(1.1)
        async with mqtt_site(tmp_path, welcome=False) as site:
            assert site.broker.sessions == 0

    async def test_an_unreadable_record_does_not_stop_the_site(self, tmp_path):
        async with mqtt_site(tmp_path) as site:
            token = site.token
            await (await site.client("a", **KEPT)).disconnect()
            site.broker._keeper.put("site:phone b", b"nonsense")
            await settle(site)
        async with mqtt_site(tmp_path, welcome=False) as site:
            assert site.broker.sessions == 1
            assert (await site.client("a", token=token, **KEPT)).present
