"""The configuration is strict, complete in its defaults, and documented to the last setting."""

import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from gateway.config import check, is_loopback, load
from gateway.settings import Broker, Config, Control, Issuer, Limits, Listen, Remote, default_state
from gateway.strict_toml import MAX_FILE, ConfigError, parse
from tests.support import ROOT

DOCUMENT = (ROOT / "docs/configuration.md").read_text()


def read(text: str) -> Config:
    return parse(text.encode(), Config, Path("/etc/site"))


def problems(text: str) -> list[str]:
    """Return what reading and checking a configuration says."""
    with pytest.raises(ConfigError) as caught:
        check(read(text))
    assert str(caught.value) == "\n".join(caught.value.problems)
    return list(caught.value.problems)


def test_a_login_needs_a_client_of_its_own_at_an_issuer():
    issuer = '[[issuer]]\nurl = "https://idp.test"\nrealm = "idp"\naudience = "hilum"\n'
    login = '[control]\nlogin = "idp"\n'
    assert "no [[issuer]] of realm" in problems(login)[0]
    assert "has no client_id" in problems(login + issuer)[0]
    assert "is the audience too" in problems(login + issuer + 'client_id = "hilum"\n')[0]
    check(read(login + issuer + 'client_id = "hilum-control"\n'))


def test_no_file_is_needed():
    config = load(None)
    assert (config.site.authority, config.http.port, config.control.port) == (
        "localhost",
        8080,
        8081,
    )
    assert config == read("")
    check(config)


def test_a_file_changes_only_what_it_says(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text("[control]\ninsecure = true\n[limits]\nhead_seconds = 2\ntimeout = 1_000\n")
    config = load(path)
    assert config.control == Control(insecure=True)
    assert config.limits == Limits(head_seconds=2.0, timeout=1000)
    assert config.http == Listen()


def test_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/site.toml").write_text('[site]\nstate = "../state"\n[http]\ntls_key = "/k"\n')
    monkeypatch.chdir(tmp_path)
    config = load(Path("etc/site.toml"))
    assert config.site.state.resolve() == tmp_path / "state"
    assert config.http.tls_key == Path("/k")


@pytest.mark.parametrize(
    ("uid", "base", "expected"),
    [
        (0, "/ignored", "/var/lib/hilum"),
        (1000, "/data/state", "/data/state/hilum"),
        (1000, "relative", "HOME/.local/state/hilum"),
        (1000, "", "HOME/.local/state/hilum"),
    ],
)
def test_state_lies_in_one_place_per_user(uid, base, expected, monkeypatch, tmp_path):
    monkeypatch.delenv("HILUM_STATE", raising=False)
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setenv("XDG_STATE_HOME", base)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_state() == Path(expected.replace("HOME", str(tmp_path)))
    assert Config().site.state == default_state()


def test_a_variable_names_another_place_for_the_state(monkeypatch, tmp_path):
    monkeypatch.setenv("HILUM_STATE", str(tmp_path))
    assert default_state() == tmp_path


WRONG = [
    # What is no table, setting or value
    ("[http]\nprot = 1", "line 2: [http] prot is not a setting; did you mean port?"),
    ("[htp]\nport = 1", "line 1: [htp] is not a table; did you mean http?"),
    ("port = 1", "line 1: [port] is not a table; port belongs to [http]"),
    ("[limits]\n\ntls_key = 1", "line 3: [limits] tls_key is not a setting; tls_key belongs to"),
    ("[log]\nverbose = 1", "line 2: [log] verbose is not a setting; there are level, format"),
    ("[egress.allowed]\nx = 1", "line 1: [egress] allowed is not a setting; did you mean allow?"),
    ('[log]\n"a\\u0007" = 1', '[log] "a\\u0007" is not a setting'),
    ("[log]\n" + "x" * 99 + " = 1", f'[log] "{"x" * 79}…" is not a setting'),
    ("[[remote]]\nauthority='a'\nurl='http://a'\ncolour=1", "line 4: [[remote]] 1 colour is not a"),
    # Types and ranges
    ("[http]\nport = 70000", "line 2: [http] port: expected `int` <= 65535"),
    ('[http]\nport = "80"', "line 2: [http] port: expected `int`, got `str`"),
    ("[http]\nport = true", "line 2: [http] port: expected `int`, got `bool`"),
    ("[http]\nport = 2020-01-01", "line 2: [http] port: expected `int`"),
    ("[limits]\nhead = 0", "line 2: [limits] head: expected `int` >= 1"),
    ("[limits]\nhead_seconds = nan", "line 2: [limits] head_seconds: expected `float` > 0.0"),
    ("[limits]\nidle_seconds = inf", "line 2: [limits] idle_seconds: expected `float` <="),
    ('[log]\nlevel = "loud"', "line 2: [log] level: invalid enum value 'loud'"),
    ('[site]\naliases = [\n "a",\n 3\n]', "line 2: [site] aliases[1]: expected `str`, got `int`"),
    ('[site]\nstate = ""', "line 2: [site] state: expected a path, and not an empty one"),
    ('[site]\nstate = "a\\u0000"', "line 2: [site] state: expected a path"),
    ("[site]\nstate = 3", "line 2: [site] state: expected a path"),
    ("http = 3", "line 1: [http]: expected `object`, got `int`"),
    ("[remote]\nauthority = 'a'", "line 1: [remote]: expected `array`, got `object`"),
    ("[[remote]]\nauthority = 'a'", "line 1: [[remote]] 1: object missing required field `url`"),
    # Syntax
    ("[http\nport = 1", "not TOML: Expected ']' at the end of a table declaration (at line 1"),
    ("a = 1\na = 2", "not TOML: Cannot overwrite a value (at end of"),
    ("a = " + "[" * 5000, "not TOML that can be read: nested too deeply"),
    ("a = 1" + "0" * 5000, "not TOML: Exceeds the limit (4300 digits)"),
    # What check finds
    (
        '[site]\nauthority = "LocalHost"',
        "[site] authority: write LocalHost in lower case: localhost",
    ),
    ('[site]\nauthority = "a:80"', '[site] authority: "a:80": an authority is a host name'),
    ('[site]\naliases = ["b", "http://a"]', '[site] aliases: "http://a": an authority is a host'),
    ('[site]\nstate = "/dev/null"', '[site] state: "/dev/null" is not a directory'),
    ('[http]\nhost = "0.0.0.0"', "[http] host: 0.0.0.0 can be reached from other machines"),
    ('[http]\nhost = "gate.example"', "[http] host: gate.example can be reached from other"),
    ('[control]\nhost = "::"', "[control] host: :: can be reached from other machines without"),
    (
        '[directory]\nenabled = true\nhost = "0.0.0.0"',
        "[directory] host: 0.0.0.0 can be reached from other machines",
    ),
    (
        "[directory]\npublic = { web = 'http://a' }",
        '[directory] public: "web" is not known; there are directory, http, mqtt, coap',
    ),
    (
        "[directory]\npublic = { http = 'http://a/b' }",
        '[directory] public: http: "http://a/b" is not of the form http://host:port',
    ),
    (
        "[directory]\nenabled = true\nport = 8081",
        "[directory] port: 8081 is taken by [control] port",
    ),
    ('[http]\nhost = ""', '[http] host: "": an authority is a host name'),
    ('[http]\ntls_certificate = "/dev/null"', "[http] tls_key: is missing; TLS needs both files"),
    (
        '[mqtt]\nclient_certificates = "optional"',
        "[mqtt] client_certificates: needs tls_certificate and tls_key",
    ),
    (
        '[http]\nclient_ca = "/dev/null"',
        "[http] client_realm: belongs to client_ca, authorities that are not the site's own: whom "
        "they certify is in a realm of their own",
    ),
    *(
        (f'[mqtt]\nclient_ca = "/dev/null"\nclient_realm = "{realm}"', "is taken; each issuer")
        for realm in ("site", "anonymous", "newcomer")
    ),
    (
        '[http]\nclient_ca = "/dev/null"\nclient_realm = "a"\n[coap]\nclient_ca = "b"\n'
        'client_realm = "a"',
        '[coap] client_realm: "a" is taken; each issuer and each client_ca has a realm of its own',
    ),
    (
        '[http]\nclient_ca = "/dev/null"\nclient_realm = "a:b"',
        '[http] client_realm: "a:b" is no realm',
    ),
    (
        '[http]\nclient_crl = "/dev/null"',
        "[http] client_crl: belongs to client_ca",
    ),
    ('[http]\ntls_key = "a"', "[http] tls_certificate: is missing; TLS needs both files"),
    ('[http]\ntls_key = "a"', '[http] tls_key: there is no file "/etc/site/a"'),
    ("[control]\nport = 8080", "[control] port: 8080 is taken by [http] port; choose another"),
    (
        '[[broker]]\nurl = "mqtt://b.test"\npassword_file = "/dev/null"',
        "[[broker]] 1 url: a password would travel readably",
    ),
    ("[limits]\ntimeout_cap = 9", "[limits] timeout: is above timeout_cap (9 ms)"),
    ('[egress]\nallow = ["10.0.0.1/8"]', '"10.0.0.1/8" has host bits set; write 10.0.0.0/8'),
    ('[egress]\nallow = ["10.0.0.0/8:99999"]', "has a port above 65535"),
    ('[egress]\nallow = ["a b"]', '[egress] allow: "a b" is neither a network such as'),
    ('[egress]\nallow = [""]', '[egress] allow: "" is neither a network such as'),
    ('[egress]\nallow = ["a:b"]', '"a:b" is neither a network such as'),
    ('[coap]\nunspoofable = ["10.0.0.1/8"]', '[coap] unspoofable: "10.0.0.1/8" is no network'),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_what_is_wrong_is_said(text, expected):
    assert any(expected in problem for problem in problems(text)), problems(text)


def remote(authority: str, url: str, rest: str = "") -> str:
    return f'[[remote]]\nauthority = "{authority}"\nurl = "{url}"\n{rest}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (remote("localhost", "http://127.0.0.1"), "1 authority: localhost is this site's or"),
        (remote("a", "http://[::1]") * 2, "[[remote]] 2 authority: a is this site's or another"),
        (remote("a.", "http://[::1]"), '[[remote]] 1 authority: "a."'),
        (remote("a", "ftp://a"), "[[remote]] 1 url: the scheme 'ftp' is not supported"),
        (remote("a", "http://a"), "[[remote]] 1 url: a token would travel readably; use https"),
        (remote("a", "http://[::1]", "follow = true"), "[[remote]] 1 follow: say who we are there"),
        (remote("a", "http://[::1]", 'ca = "gone"'), "[[remote]] 1 ca: there is no file"),
        (remote("a", "http://[::1]", 'key = "gone"'), "1 certificate: a certificate and its key"),
        (
            remote("a", "http://[::1]", "stale_seconds = 9\nforget_seconds = 8"),
            "[[remote]] 1 forget_seconds: what is known is stale first",
        ),
        (remote("a", "https://a", "token_file = 'no'"), "1 token_file: there is no file"),
    ],
)
def test_what_is_wrong_with_a_remote_site_is_said(text, expected):
    assert any(expected in problem for problem in problems(text))


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://collector:4318", "[trace] endpoint: spans would travel readably; use https"),
        ("grpc://127.0.0.1", "[trace] endpoint: the scheme 'grpc' is not supported"),
    ],
)
def test_what_is_wrong_with_a_collector_is_said(endpoint, expected):
    assert any(expected in one for one in problems(f'[trace]\nendpoint = "{endpoint}"'))
    check(read('[trace]\nendpoint = "https://collector:4318"'))


def test_every_problem_is_said_at_once():
    text = '[http]\nprot = 1\nport = -1\n[log]\nlevel = 3\n[[remote]]\nurl = 1\nauthority = "a"\n'
    said = problems(text)
    assert [line.partition(":")[0] for line in said] == ["line 2", "line 3", "line 5", "line 7"]


@pytest.mark.parametrize(
    "text",
    [
        '[http]\nhost = "0.0.0.0"\ninsecure = true',
        '[http]\nhost = "::1"\n[control]\nhost = "localhost"\nport = 8080',
        "[http]\nport = 0\n[control]\nport = 0",
        '[egress]\nallow = ["10.0.0.0/8", "10.0.0.0/8:80", "fd00::/8", "[fd00::]:80", "::1", '
        '"a.example", "a.example:443", "192.168.1.7", "192.168.1.7:1"]',
        remote("a", "http://127.0.0.1:1") + remote("b", "http://b", "insecure = true"),
    ],
)
def test_what_is_right_passes(text):
    check(read(text))


def test_tls_makes_other_machines_welcome(tmp_path):
    (tmp_path / "site.crt").touch()
    (tmp_path / "site.key").touch()
    path = tmp_path / "site.toml"
    path.write_text('[http]\nhost="0.0.0.0"\ntls_certificate="site.crt"\ntls_key="site.key"\n')
    check(load(path))


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.9", True), ("::1", True), ("LOCALHOST", True), ("10.0.0.1", False), ("a", False)],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


def test_problems_of_a_file_name_it(tmp_path):
    path = tmp_path / "site.toml"
    with pytest.raises(ConfigError, match=r"cannot read .*site\.toml: No such file"):
        load(path)
    path.write_text("[http]\nprot = 1\n[log]\nx = 1\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert all(problem.startswith(f"{path}: line ") for problem in caught.value.problems)
    path.write_bytes(b"[http]\n# \xff")
    with pytest.raises(ConfigError, match="byte 10 is not UTF-8"):
        load(path)
    with path.open("wb") as file:
        file.truncate(MAX_FILE + 1)
    with pytest.raises(ConfigError, match="larger than"):
        load(path)


def test_a_line_is_found_in_a_large_file_or_not_told():
    filler = "# port\n" * 150
    assert problems(f"[http]\n{filler}\nport = -1")[0].startswith("line 153: ")
    assert problems(f"[http]\n{filler * 2}\nport = -1")[0].startswith("[http] port")


KEYS = [*(info.name for info in fields(Config)), "port", "allow", "state", "\u2028", "x.y", ""]
LEAVES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["0.0.0.0", "::", "10.0.0.1/8", "/dev/null", "http://a", "a:80", "²"]),
)
VALUES: st.SearchStrategy = st.deferred(
    lambda: (
        LEAVES
        | st.lists(VALUES, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3)
    )
)


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


LISTS = {"remote": Remote, "broker": Broker, "issuer": Issuer}


def table(info: msgspec.structs.FieldInfo) -> st.SearchStrategy:
    kind = LISTS.get(info.name, info.type)
    inner = st.dictionaries(st.sampled_from([one.name for one in fields(kind)]) | st.text(), VALUES)
    return st.lists(inner, max_size=3) if kind in LISTS.values() else inner


def judged(data: bytes) -> None:
    """Read and check hostile bytes: a Config or a ConfigError in printable lines, nothing else."""
    said = ["nothing"]
    try:
        check(parse(data, Config, Path("/etc/site")))
    except ConfigError as error:
        said = list(error.problems)
    assert said
    assert all(problem and problem.isprintable() for problem in said)


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({}, optional={i.name: table(i) | VALUES for i in fields(Config)}))
@example({"http": {"host": "\u2028"}, "egress": {"allow": ["1:²"]}})
def test_hostile_documents_are_judged(document):
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items())
    judged(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200, deadline=None)
@given(
    st.text(alphabet="[]=\".#{}\n\r\\,'abhttp0123_\x00\x1b", max_size=80) | st.binary(max_size=80)
)
def test_hostile_bytes_are_judged(data):
    judged(data if isinstance(data, bytes) else data.encode())


def documented() -> dict[str, dict[str, str]]:
    """Return table -> setting -> default, as the document says."""
    tables: dict[str, dict[str, str]] = {}
    for line in DOCUMENT.splitlines():
        if heading := re.fullmatch(r"## `\[+(\w+)\]+`", line):
            tables[heading[1]] = {}
        elif row := re.fullmatch(r"\| `(\w+)` \| (.+?) \| .+ \|", line):
            tables[list(tables)[-1]][row[1]] = row[2]
    return tables


def default(info: msgspec.structs.FieldInfo) -> str:
    if info.required:
        return "required"
    if info.default_factory is dict:
        return "`{}`"
    if info.default is msgspec.NODEFAULT:
        return "see below"
    value = list(info.default) if isinstance(info.default, tuple) else info.default
    return "none" if value is None else f"`{toml(value)}`"


def test_every_setting_is_documented_with_its_default():
    tables = {info.name: LISTS.get(info.name, info.type) for info in fields(Config)}
    assert documented() == {
        name: {info.name: default(info) for info in fields(kind)} for name, kind in tables.items()
    }
    for value in ("HILUM_STATE", "/var/lib/hilum", "$XDG_STATE_HOME/hilum", "~/.local/state/hilum"):
        assert f"`{value}`" in DOCUMENT


def test_the_example_in_the_document_is_read():
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    config = read(text)
    assert config.site.authority == "snac.asu.edu"
    assert {problem.partition(": there is no file")[0] for problem in problems(text)} == {
        "[http] tls_certificate",
        "[http] tls_key",
        "[[remote]] 1 token_file",
    }
