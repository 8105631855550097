"""The login example: nothing before the login, its policies after it, nothing after the logout."""

import asyncio
import json
import sys

from tests.adapters.live import live_site
from tests.support import ROOT


async def test_a_login_generates_policies_and_a_logout_takes_them_back(tmp_path):
    async with live_site(tmp_path / "state") as site:
        await site.register(
            microservice="Plan", objects=[{"name": "Plan", "methods": {"goal": {}, "next": {}}}]
        )
        manifests = (ROOT / "examples/login/policies.yaml").read_bytes()
        applied = await site.ask(
            "POST", "/$site/policy/apply", manifests, "Content-Type: application/yaml"
        )
        assert applied.status == 200, applied
        token = tmp_path / "login.token"
        token.write_text(await site.token_for("service:login", "service"))
        service = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "examples.login.login"),
            *("--site", f"http://127.0.0.1:{site.port}", "--token-file", str(token)),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert service.stdout is not None
            assert await asyncio.wait_for(service.stdout.readline(), 20) == b"ready\n"
            await play(site)
        finally:
            service.kill()
            await service.communicate()


async def play(site):
    ann = await site.token_for("user:ann")

    async def call(name, **args):
        return (await site.ask("POST", f"/{name}", json.dumps(args).encode(), token=ann)).status

    async def denied():
        return {await call("Band/add"), await call("Plan/goal"), await call("Plan/next")} == {403}

    allowed = 503  # nothing provides the methods: whoever hears that was let through
    assert await denied()
    assert await call("Login/login", password="battery staple") == 400
    assert await denied()
    assert await call("Login/login", password="correct horse") == 200
    assert await call("Band/add") == allowed
    assert await call("Plan/goal") == allowed
    items = (await site.call("policy/get", {"kind": "AccessPolicy"}))["items"]
    mine = [i["metadata"] for i in items if i["metadata"]["name"].startswith("login-user-ann")]
    assert len(mine) == 2
    assert all(metadata["expires"] > 1e9 for metadata in mine)

    await site.apply("Environment", "attack", {"threat": 8})
    assert await call("Plan/goal") == 403
    assert await call("Band/add") == allowed  # its policy says nothing of threats
    await site.apply("Environment", "attack", {"threat": 1})
    assert await call("Plan/next") == allowed

    assert await call("Login/logout") == 200
    assert await denied()
    assert await call("Login/decide") == 403
