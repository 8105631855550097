"""Seen from outside: the log is on the disk before the client reads that it is (strace)."""

from tests.running import Gateway
from tests.support import require_program
from tests.tracing import system_calls

CALLS = "trace=fsync,fdatasync,pwrite64,pwritev,write,sendto,writev,sendmsg"
WRITES = {"write", "sendto", "writev", "sendmsg"}
SYNCS = {"fsync", "fdatasync"}
CHANGES, EVENTS = "changes.db-wal", "events.db-wal"


def do_everything(site):
    """Return what was acknowledged, in its order: the log it is in, and a text to know it by."""
    manifest = {
        "microservice": "Marked",
        "description": "mark-registered",
        "objects": [{"name": "marked", "channels": {"log": {"durable": True}}}],
    }
    site.register(manifest)
    rule = {"effect": "allow", "subjects": [{"kind": "user"}], "actions": ["call"]}
    policy = {"apiVersion": "hilum/v1", "kind": "AccessPolicy", "metadata": {"name": "mark-policy"}}
    site.ask("policy/apply", {**policy, "spec": {**rule, "names": ["x"]}})
    asked = {"principal": "user:ann", "kind": "user", "note": "mark-issued"}
    token = site.ask("token/issue", asked)
    site.ask("token/revoke", {"id": token["id"]})
    made = {"name": "made", "description": "mark-created"}
    site.ask("registry/create", {"microservice": "Marked", "version": "1.0.0", "object": made})
    acknowledged = [
        (CHANGES, "mark-registered"),
        (CHANGES, "mark-policy"),
        (CHANGES, "mark-issued"),
        (CHANGES, token["id"]),
        (CHANGES, "mark-created"),
    ]
    for n in range(5):
        assert site.http("POST", "/marked/log", f"mark-event-{n}").status == 200
        acknowledged.append((EVENTS, f"mark-event-{n}"))
    return acknowledged


def test_the_log_is_synced_before_each_acknowledgement(tmp_path):
    trace = tmp_path / "trace"
    # As a grandchild (-D), so that the process that we start and stop is the site itself.
    options = ["-D", "-f", "-y", "-s", "5000", "-e", CALLS, "-o", str(trace)]
    with Gateway(tmp_path, under=[require_program("strace"), *options]) as site:
        acknowledged = iter(do_everything(site))
    unsynced = {CHANGES: "", EVENTS: ""}
    synced = {CHANGES: "", EVENTS: ""}
    for name, text, finished in system_calls(trace.read_text()):
        target = text.partition(">")[0]
        log = next((log for log in unsynced if target.endswith(f"/{log}")), None)
        if log and name.startswith("pwrite") and not finished:
            unsynced[log] += text
        elif log and name in SYNCS and finished:
            assert text.endswith("= 0")
            synced[log] += unsynced[log]
            unsynced[log] = ""
        elif name in WRITES and not finished and '"HTTP/1.1 ' in text:
            assert '"HTTP/1.1 200 OK' in text
            log, mark = next(acknowledged)
            assert mark in synced[log], f"{mark} was not synced before {text}"
            assert not unsynced[log], f"{log} was written, but not synced before {text}"
            synced[log] = ""
    assert next(acknowledged, None) is None
