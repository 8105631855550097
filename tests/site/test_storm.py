"""Bindings that change fifty times a second under traffic fail no request."""

import asyncio
import contextlib
from collections import Counter

from tests.running import Gateway
from tests.site.wire import Service, Wire

CHANGES = 150
SECONDS = 3.0
NAMES = 5


def manifest(version, url):
    """One object with some methods, all at one URL."""
    methods = {f"m{i}": {"endpoints": [{"url": url}]} for i in range(NAMES)}
    return {
        "apiVersion": "hilum/v1",
        "microservice": "Storm",
        "version": version,
        "lease": 600,
        "objects": [{"name": "storm", "methods": methods}],
    }


def resolution(version):
    return {
        "apiVersion": "hilum/v1",
        "kind": "ResolutionPolicy",
        "metadata": {"name": "storm"},
        "spec": {"names": ["storm/*"], "choices": [{"microservice": "Storm", "version": version}]},
    }


def binding(number, url):
    return {
        "apiVersion": "hilum/v1",
        "kind": "Binding",
        "metadata": {"name": f"storm-{number}"},
        "spec": {"name": f"storm/m{number}", "endpoint": url},
    }


async def call(site, name, answers, over):
    """Call without a pause; anything but a whole good answer raises."""
    async with Wire(site.url, site.token) as wire:
        while not over.is_set():
            reply = await wire.ask("POST", f"/storm/{name}", b"x", seconds=5)
            assert reply.status == 200, reply
            answers[reply.json()["by"]] += 1


def changes_of(services):
    """The changes of a storm: registrations, versions, an operator's bindings made and unmade."""
    for n in range(CHANGES):
        url = services[n % 2].url
        kind, number = n % 5, n // 5 % NAMES
        if kind == 0:
            yield "registry/register", manifest("1", url)
        elif kind == 1:
            yield "registry/register", manifest("2", url)
        elif kind == 2:
            yield "policy/apply", resolution(str(1 + n % 2))
        elif kind == 3:
            yield "policy/apply", binding(number, url)
        else:
            yield "policy/delete", {"kind": "Binding", "name": f"storm-{number}"}


async def test_a_storm_of_changes_fails_no_request(tmp_path):
    site = Gateway(tmp_path)
    answers, over = Counter(), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        services = [await stack.enter_async_context(Service(name)) for name in ("one", "two")]
        await asyncio.to_thread(site.start)
        stack.push_async_callback(asyncio.to_thread, site.stop)
        operator = await stack.enter_async_context(Wire(site.url, site.token))
        assert (
            await operator.call("registry/register", manifest("1", services[0].url))
        ).status == 200
        names = [f"m{i}" for i in range(NAMES)] * 2
        callers = [asyncio.create_task(call(site, name, answers, over)) for name in names]
        loop = asyncio.get_running_loop()
        begin = loop.time()
        for n, (method, document) in enumerate(changes_of(services)):
            reply = await operator.call(method, document)
            assert reply.status == 200, reply
            await asyncio.sleep(begin + (n + 1) * SECONDS / CHANGES - loop.time())
        took = loop.time() - begin
        over.set()
        await asyncio.gather(*callers)
    assert took < 2 * SECONDS
    assert min(answers["one"], answers["two"]) > 100
    assert "Traceback" not in site.logged()
