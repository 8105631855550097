"""The directory's methods as calls with JSON, and what a restart keeps."""

import json

from msgspec.structs import replace

from adapters.coap.wire.codec import code_text
from gateway.settings import Coap
from registry.changes import Registered
from tests.adapters.live import live_site
from tests.conformance.clauses import clause
from tests.conformance.rd.nodes import LINK_FORMAT, Registrant, directory


async def call(site, method, document, token=None):
    body = json.dumps(document).encode()
    kind = "Content-Type: application/json"
    answer = await site.ask("POST", f"/$site/registry/{method}", body, kind, token=token)
    return answer.status, answer.json()


@clause("RFC9176-5", "RFC9176-7.5")
async def test_a_registration_by_json_outlives_a_restart(tmp_path):
    async with directory(tmp_path) as site:
        wanted = {
            "ep": "kept",
            "d": "cellar",
            "lt": 600,
            "base": "coap://127.0.0.1:7100",
            "et": "x.pump",
            "links": '</speed>;rt="brick:Speed_Sensor",<http://example.test/pump>;rel=describedby',
        }
        token = await site.token_for("user:ann")
        status, said = await call(site, "rd-register", wanted, token)
        assert status == 200, said
        assert said["name"] == "localhost/sectors/cellar/kept"
        assert said["members"] == [
            f"localhost/sectors/cellar/kept/speed{more}" for more in ("", ";write", ";post")
        ]
        assert (await call(site, "rd-register", {**wanted, "lt": "x"}, token))[0] == 400
        assert (await call(site, "rd-register", {**wanted, "links": 1}, token))[0] == 400
        location = {"location": said["location"]}
        assert (await call(site, "rd-update", {**location, "lt": 700}, token))[0] == 200
    coap = Coap(host="127.0.0.1", port=0, anonymous=True)
    async with live_site(tmp_path, coap=coap) as site:
        found = (await call(site, "rd-endpoints", {"ep": "kept"}))[1]["items"]
        assert [(each["lt"], each["et"], each["d"]) for each in found] == [
            ("700", "x.pump", "cellar")
        ]
        found = (await call(site, "rd-resources", {"d": "cellar"}))[1]["items"]
        base = f"coap://127.0.0.1:{site.application.devices.coap_port}"
        assert found == [
            {"href": f"{base}/sectors/cellar/kept/speed", "rt": "brick:Speed_Sensor"},
            {"href": "http://example.test/pump", "rel": "describedby"},
        ]
        with Registrant(site.application.devices.coap_port) as thief:
            query = "rd?ep=kept&d=cellar&base=coap://127.0.0.1:7100"
            assert code_text((await thief.rd("POST", query, b"", LINK_FORMAT)).code) == "4.09"
        status, _ = await call(site, "rd-remove", location)
        assert status == 200, "an administrator may"


async def test_an_object_that_was_destroyed_breaks_no_lookup(tmp_path):
    async with directory(tmp_path) as site:
        for name in ("whole", "broken", "damaged"):
            document = {"ep": name, "base": "coap://127.0.0.1:7101", "links": "</a>"}
            assert (await call(site, "rd-register", document))[0] == 200
        assert (await call(site, "destroy", {"name": "endpoints/broken"}))[0] == 200
        catalog = site.application.site.catalog
        found = next(r for r in catalog.registrations.values() if named(r, "damaged"))
        wrong = replace(found, endpoint=replace(found.endpoint, links="</a", base="x"))
        await site.application.site.ledger.change("site:test", lambda _: [Registered(wrong)])
        for method in ("rd-endpoints", "rd-resources"):
            assert len((await call(site, method, {}))[1]["items"]) == 1


def named(registration, name):
    return registration.endpoint is not None and registration.endpoint.name == name
