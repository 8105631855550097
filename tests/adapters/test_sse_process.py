"""Event streams of a site in its own process, also when that process is killed."""

import http.client
import json
import threading
from itertools import islice
from urllib.parse import urlsplit

from tests.running import Gateway

OBJECT = {"name": "Log", "channels": {"kept": {"durable": True}, "ring": {}}}


def subscribe(site, path, last=""):
    """Open a stream; returns the connection and the response."""
    connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=20)
    headers = {"Accept": "text/event-stream", "Authorization": f"Bearer {site.token}"}
    if last:
        headers["Last-Event-ID"] = last
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    assert response.status == 200
    return connection, response


def events(response):
    """Yield the blocks of a stream."""
    block = {}
    while line := response.readline().decode():
        name, _, value = line.rstrip("\n").partition(":")
        if line != "\n":
            block[name] = value.removeprefix(" ")
            continue
        if block.keys() & {"id", "event"}:
            yield block
        block = {}


def test_nothing_acknowledged_is_lost_or_doubled_when_the_site_is_killed(tmp_path):
    acknowledged, last = [], ""
    with Gateway(tmp_path) as site:
        site.register({"microservice": "Log", "instance": "a", "objects": [OBJECT]})
        for life in range(3):
            stop = threading.Event()

            def publish(life=life, stop=stop):
                for number in range(10_000):
                    text = f"{life}.{number}"
                    try:
                        answer = site.http("POST", "/Log/kept", text, content_type="text/plain")
                    except (OSError, http.client.HTTPException):
                        return
                    if answer.status != 200 or stop.is_set():
                        return
                    acknowledged.append((answer.json()["id"], text))

            connection, response = subscribe(site, "/Log/kept", last)
            thread = threading.Thread(target=publish)
            thread.start()
            for block in islice(events(response), 20):
                last = block["id"]
            connection.close()
            site.kill()
            thread.join()
            site.start()
        connection, response = subscribe(site, "/Log/kept?after=oldest")
        found = []
        for block in events(response):
            assert "event" not in block, "there is no gap"
            found.append((block["id"], block["data"]))
            if block["id"] == acknowledged[-1][0]:
                break
        connection.close()
    sequences = [int(each.rpartition("-")[2]) for each, _ in found]
    assert sequences == list(range(1, len(found) + 1))
    assert set(acknowledged) <= set(found)
    assert len({each.rpartition("-")[0] for each, _ in found}) == 1
    assert len(acknowledged) >= 40


def test_a_ring_begins_anew(tmp_path):
    with Gateway(tmp_path) as site:
        site.register({"microservice": "Log", "instance": "a", "objects": [OBJECT]})
        before = site.http("POST", "/Log/ring", "x").json()["id"]
        site.restart()
        after = site.http("POST", "/Log/ring", "y").json()["id"]
        connection, response = subscribe(site, "/Log/ring", before)
        stream = events(response)
        gap, event = next(stream), next(stream)
        connection.close()
        # A site that stops says so, and its clients come back by themselves.
        connection, response = subscribe(site, "/Log/ring", after)
        site.stop()
        (end,) = events(response)
        connection.close()
    assert json.loads(gap["data"])["reason"] == "foreign"
    assert (event["id"], event["data"]) == (after, "y")
    assert json.loads(end["data"])["status"] == 503
