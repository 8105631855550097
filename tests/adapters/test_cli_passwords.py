"""hilum password and hilum secret against a running site."""

import json

from tests.running import hilum


def test_a_password_is_set_and_replaced(running_site):
    done = running_site.cli("password", "set", "carl", "--stdin", stdin="correct horse\n")
    assert done.returncode == 0, done.stderr
    assert "carl logs in as user:carl" in done.stderr
    id_ = done.stdout.strip()
    again = running_site.cli(
        "password", "set", "carl", "--stdin", "-o", "json", stdin="battery staple\r\n"
    )
    assert json.loads(again.stdout) == {"id": id_, "user": "carl", "principal": "user:carl"}
    other = running_site.cli(
        "password", "set", "carl", "--principal", "staff:x", "--stdin", stdin="correct horse\n"
    )
    assert other.returncode != 0
    assert "is user:carl" in other.stderr


def test_passwords_that_cannot_be(running_site):
    for stdin, why in (("short\n", "8 to 256"), ("\n", "8 to 256"), ("tab\tinside it\n", "print")):
        done = running_site.cli("password", "set", "carl", "--stdin", stdin=stdin)
        assert done.returncode != 0
        assert why in done.stderr
    done = running_site.cli("password", "set", "carl", stdin="correct horse\n")
    assert "--stdin" in done.stderr
    name = "a" * 129
    done = running_site.cli("password", "set", name, "--stdin", stdin="correct horse\n")
    assert "1 to 128 printable" in done.stderr


def test_a_secret_is_issued_once(running_site):
    done = running_site.cli(
        *("secret", "issue", "device:lamp", "--user", "l-1", "--ttl", "1h"),
        *("--attribute", "room=kitchen", "-o", "json"),
    )
    issued = json.loads(done.stdout)
    assert issued["secret"].startswith("hls_")
    assert (issued["user"], issued["principal"]) == ("l-1", "device:lamp")
    shown = running_site.cli("secret", "issue", "device:lamp")
    assert shown.stdout.startswith("hls_")
    assert "device:lamp logs in as lamp" in shown.stderr
    listed = running_site.ask("identity/list")
    assert issued["secret"] not in json.dumps(listed)
    assert issued["id"] in json.dumps(listed)
    log = (running_site.state / "changes.db").read_bytes()
    log += (running_site.state / "changes.db-wal").read_bytes()
    assert issued["secret"].encode() not in log


def test_who_may_not_administer(running_site):
    token = running_site.token_for("service:nosy")
    for arguments in (("secret", "issue", "device:x"), ("password", "set", "x", "--stdin")):
        done = running_site.cli(*arguments, stdin="correct horse\n", HILUM_TOKEN=token)
        assert done.returncode != 0
    assert hilum("secret", "issue", "--help").returncode == 0


def test_principals_that_cannot_be(running_site):
    for principal in ("lamp", "anonymous:lamp", "x:*"):
        done = running_site.cli("secret", "issue", principal)
        assert "no principal" in done.stderr
    done = running_site.cli("secret", "issue", "device:x", "--kind", "anonymous")
    assert "no kind" in done.stderr
    done = running_site.cli("secret", "issue", "device:x", "--ttl", "99999d")
    assert "ttl" in done.stderr
