"""``hilum ca`` beside a site that is not running, and what it says when it cannot."""

import contextlib
import json
import os
import subprocess
from unittest import mock

import pytest

from policy.identity.site_ca import read_certificate
from tests.running import Gateway, hilum
from tests.site.provisioning import ask, https
from tests.support import require_program

TLS = """
[http]
tls_certificate = "{folder}/listener.pem"
tls_key = "{folder}/listener.key"
client_certificates = "required"
"""


@pytest.fixture
def state(tmp_path):
    assert hilum("ca", "init", "--state", str(tmp_path / "state")).returncode == 0
    return tmp_path / "state"


def refused(*words, code):
    done = hilum(*words)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert code in done.stderr
    return done.stderr


def test_there_is_one_authority_for_a_site(state):
    assert "already" in refused("ca", "init", "--state", str(state), code="already")


def test_without_an_authority_the_way_is_shown(tmp_path):
    for words in (("list",), ("revoke", "1"), ("issue", "--host", "a")):
        said = refused("ca", *words, "--state", str(tmp_path), code="there is no")
        assert "hilum ca init" in said


def test_what_cannot_be_issued_is_refused(state, tmp_path):
    at = ("--state", str(state), "--out", str(tmp_path / "x"))
    refused("ca", "issue", *at, code="say whose")
    refused("ca", "issue", "device:a", "--host", "b", *at, code="say whose")
    refused("ca", "issue", "--host", "hö", *at, code="no host name")
    refused("ca", "revoke", "123", "--state", str(state), code="no certificate 123")
    (tmp_path / "csr").write_text("rubbish")
    refused(
        "ca", "issue", "--host", "a", "--csr", str(tmp_path / "csr"), *at, code="no certificate"
    )


def test_a_serial_counts_as_openssl_and_browsers_write_it(state, tmp_path):
    for write in (str.upper, lambda text: ":".join(text[i : i + 2] for i in range(0, 32, 2))):
        at = ("--state", str(state), "--out", str(tmp_path / "x"), "--output", "json")
        done = hilum("ca", "issue", "--host", "a", *at)
        serial = json.loads(done.stdout)["serial"]
        done = hilum("ca", "revoke", write(serial), "--state", str(state))
        assert (done.returncode, done.stdout) == (0, f"{serial} revoked\n"), done.stderr


def test_a_certificate_issued_offline_counts_when_the_site_runs(state, tmp_path):
    """Also over a request of openssl's, whose key the site never sees."""
    hosts = ("--host", "localhost", "--host", "127.0.0.1")
    listener = str(tmp_path / "listener")
    assert hilum("ca", "issue", *hosts, "--state", str(state), "--out", listener).returncode == 0
    with Gateway(tmp_path) as site:
        said = refused(
            *("ca", "issue", "user:ann", "--offline", "--state", str(state), "--out", listener),
            code="error",
        )
        assert "stop `hilum serve`" in said
        site.allow("ann", {"principal": "user:ann"}, "call", "$site/policy/schema")
    words = ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=site:admin"]
    words += ["-keyout", "ann.key", "-out", "ann.csr"]
    openssl = require_program("openssl")
    subprocess.run([openssl, *words], cwd=tmp_path, capture_output=True, check=True)
    done = hilum(
        *("ca", "issue", "user:ann", "--kind", "user", "--csr", str(tmp_path / "ann.csr")),
        *("--offline", "--state", str(state), "--out", str(tmp_path / "ann"), "--output", "json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == [str(tmp_path / "ann.pem")]
    assert (tmp_path / "ann.pem").stat().st_mode & 0o777 == 0o600
    pem = tmp_path / "both.pem"
    pem.write_text((tmp_path / "ann.pem").read_text() + (tmp_path / "ann.key").read_text())
    assert read_certificate((tmp_path / "ann.pem").read_bytes()).uris == (
        "urn:hilum:principal:user:ann",
    )
    ca = state / "ca" / "ca.pem"
    config = TLS.format(folder=tmp_path)
    with (
        mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(ca)}),
        Gateway(tmp_path, config=config) as site,
    ):
        connection = https(site.url, ca, pem)
        assert ask(connection, "/$site/policy/schema")[0] == 200
        connection.close()
        nobody = https(site.url, ca)
        with pytest.raises(OSError), contextlib.closing(nobody):
            ask(nobody, "/$site/policy/schema")
