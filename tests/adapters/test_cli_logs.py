"""Log records as lines: for programs with the same event each time, and never with a secret."""

import json
import logging
import sys

import pytest

from adapters.cli.logs import HIDDEN, JsonFormatter, TextFormatter, hide

TOKEN = "hlm_0123456789abcdef_" + "aB3_-" * 8 + "xyz"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl"


def record(message, *values, **named):
    made = logging.LogRecord("hilum.x", logging.WARNING, "f.py", 1, message, values, None)
    made.__dict__.update(named)
    return made


def test_records_of_one_kind_have_the_same_event():
    lines = [
        json.loads(JsonFormatter().format(record("the lease of %s ran out after %d s", who, 5)))
        for who in ("a", "b")
    ]
    assert {line["event"] for line in lines} == {"the lease of %s ran out after %d s"}
    assert [line["fields"]["values"] for line in lines] == [["a", 5], ["b", 5]]
    assert lines[0]["message"] == "the lease of a ran out after 5 s"
    assert lines[0]["level"] == "warning"


def test_what_is_said_by_name_is_a_field():
    line = json.loads(JsonFormatter().format(record("ready", port=80, policy=object(), tls=None)))
    assert line["fields"]["port"] == 80
    assert line["fields"]["tls"] is None
    assert line["fields"]["policy"].startswith("<object")


def test_a_hostile_value_stays_one_line():
    hostile = 'a\n{"level":"error"}\x1b[31m'
    assert "\n" not in JsonFormatter().format(record("from %s", hostile))
    assert "\x1b" not in TextFormatter().format(record("from %s", hostile))


@pytest.mark.parametrize(
    "secret", [TOKEN, JWT, f"Bearer {JWT}", "bearer abcdefghijkl", "Basic YW5uOnBhc3M="]
)
@pytest.mark.parametrize("form", [TextFormatter, JsonFormatter])
def test_no_secret_passes_however_it_got_there(form, secret):
    text = form().format(record(f"sent {secret} by %s", secret, header=secret))
    for part in secret.split():
        if part.lower() not in ("bearer", "basic"):
            assert part not in text
    assert HIDDEN in text


def fails():
    raise ValueError(f"no such token {TOKEN}")


def test_a_traceback_has_no_secret_either():
    try:
        fails()
    except ValueError:
        made = record("it failed")
        made.exc_info = sys.exc_info()
    assert TOKEN not in TextFormatter().format(made)
    made.exc_text = None
    assert TOKEN not in json.loads(JsonFormatter().format(made))["exception"]


def test_a_tokens_id_may_be_told():
    assert hide(f"revoked {TOKEN}.") == f"revoked hlm_0123456789abcdef{HIDDEN}."
