"""The relay with everything on: ``make bench ARGS=guarded``.

Hilum verifies JSON Web Tokens, decides by 1,000 access rules with conditions, limits, breaks
circuits, accounts, counts, audits denials and traces 1 % of the calls. Beside it: nginx as a plain
proxy, and Envoy with JWT, RBAC, a local rate limit and a circuit breaker. The workload is that of
``relay``; Hilum without all this stands beside, so that its price shows.
"""

import json
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from joserfc import jwt
from joserfc.jwk import RSAKey

from bench import workload
from bench.hilum import Hilum, bench_service
from bench.options import Options
from bench.peers import Peer, start_envoy, start_nginx, start_upstream
from bench.process import MissingProgram
from bench.relay import (
    COMPILED,
    CONNECTIONS,
    KINDS,
    PLAIN,
    PURE,
    Gateway,
    alternate,
    median,
    start_hilum,
)
from bench.results import Section, Target

RULES = 1_000
BATCH = 200
PLENTY = {"rate": 1_000_000, "burst": 1_000_000}
ENVOY = "Envoy, JWT + RBAC + limit + breaker"
BARE = "Hilum, tokens only"
LIMITS = {PURE: 1.7, COMPILED: 1.4}
"""CPU of nginx's; of Envoy's it may be ``OF_ENVOY``."""
OF_ENVOY = 0.65


class Issuer:
    """An OpenID provider's keys and tokens, and a collector that swallows spans."""

    def __init__(self) -> None:
        self._key = RSAKey.generate_key(2048, {"kid": "bench", "use": "sig", "alg": "RS256"})
        self.jwks = json.dumps({"keys": [self._key.as_dict(private=False)]})
        issuer = self
        self.spans = 0

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = issuer.jwks.encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                issuer.spans += len(self.rfile.read(int(self.headers["Content-Length"]))) > 0
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def tokens(self) -> list[str]:
        """Return a token for each caller."""
        now = int(time.time())
        claims = {"iss": workload.ISSUER, "aud": workload.AUDIENCE, "iat": now, "exp": now + 3600}
        return [
            jwt.encode(
                {"alg": "RS256", "kid": "bench", "typ": "at+jwt"},
                {**claims, "sub": f"caller{n:02d}", "jti": secrets.token_hex(8), "level": 5},
                self._key,
            )
            for n in range(workload.CALLERS)
        ]

    def config(self) -> str:
        """Return what Hilum is configured with."""
        return f"""
[[issuer]]
url = "{workload.ISSUER}"
realm = "bench"
audience = "{workload.AUDIENCE}"
jwks_uri = "{self.url}/jwks"
kind = "{workload.CALLER_KIND}"
attributes = {{ level = "level" }}
insecure = true

[trace]
endpoint = "{self.url}"
sample = 0.01
"""

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def policies() -> list[dict[str, object]]:
    """Return 1,000 access policies with conditions, one of which lets the callers in."""
    found = [_manifest("Attribute", "level", {"attribute": "subject.level", "type": "number"})]
    for number in range(RULES):
        mine = number == RULES // 2
        spec = {
            "effect": "allow",
            "subjects": [{"kind": workload.CALLER_KIND}],
            "actions": ["call"],
            "names": ["Bench/*", "fresh/*"] if mine else [f"building/o{number}/**"],
            "when": "subject.level >= 3 and environment.threat < 7",
        }
        found.append(_manifest("AccessPolicy", f"rule{number}", spec))
    limits = {
        "names": ["Bench/*", "fresh/*"],
        "per": ["principal"],
        "messages": PLENTY,
        "bytes": {"rate": 1e9, "burst": 1e9},
    }
    found.append(_manifest("QualityPolicy", "callers", limits))
    breaker = {"names": ["**"], "breaker": {"failures": 5}}
    found.append(_manifest("QualityPolicy", "breaker", breaker))
    return found


def _manifest(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "hilum/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def start_guarded(
    folder: Path, upstream: int, name: str, issuer: Issuer, stack: ExitStack
) -> Gateway:
    """Start Hilum with everything on."""
    place = folder / f"guarded-{name.replace(', ', '-')}"
    site = Hilum(place, name, compiled=name == COMPILED, more=issuer.config())
    stack.callback(site.stop)
    site.register(bench_service(upstream))
    documents = policies()
    for begin in range(0, len(documents), BATCH):
        site.client.ask("policy/apply", documents[begin : begin + BATCH])
    return Gateway(name, site, issuer.tokens())


def start_all(
    folder: Path, upstream: int, options: Options, section: Section, stack: ExitStack
) -> list[Gateway]:
    """Start Hilum, with and without all this, and the peers."""
    issuer = Issuer()
    stack.callback(issuer.close)
    names = [PURE, *([COMPILED] if options.compiled else [])]
    found = [start_guarded(folder, upstream, name, issuer, stack) for name in names]
    bare = start_hilum(folder, upstream, PURE, stack)
    found.append(bare._replace(name=BARE))
    tokens = issuer.tokens()
    wanted: dict[str, Callable[[], Peer]] = {
        PLAIN: lambda: start_nginx(folder, upstream),
        ENVOY: lambda: start_envoy(folder, upstream, tokens, issuer.jwks),
    }
    for name, start in wanted.items():
        try:
            peer = start()
        except MissingProgram as missing:
            section.notes.append(f"{name} is left out: {missing}.")
            continue
        stack.callback(peer.stop)
        found.append(Gateway(name, peer, tokens))
    return found


def measure_kind(
    gateways: Sequence[Gateway], folder: Path, name: str, options: Options, section: Section
) -> None:
    """Measure the 200-byte POST in one of its two kinds."""
    loads = [gateway.small(folder, name) for gateway in gateways]
    what = KINDS[name]
    counts = CONNECTIONS[1:]
    runs = {c: alternate(gateways, loads, c, options) for c in counts}
    cpu = {c: {g: median(found, "cpu") for g, found in runs[c].items()} for c in counts}
    rows = [
        [
            gateway.name,
            " / ".join(f"{median(runs[c][gateway.name], 'rate') / 1e3:.1f}" for c in counts),
            " / ".join(f"{cpu[c][gateway.name]:.1f}" for c in counts),
            " / ".join(f"{cpu[c][gateway.name] / cpu[c][PLAIN]:.2f}" for c in counts),
            " / ".join(f"{median(runs[c][gateway.name], 'p99'):,.0f}" for c in counts),
        ]
        for gateway in gateways
    ]
    header = [f"{what}, c = 16 / 64", "thousand requests/s", "CPU µs per request"]
    section.table([*header, "CPU, of nginx", "p99 µs"], rows)
    for gateway, limit in LIMITS.items():
        for c in counts:
            if gateway in cpu[c]:
                of = f"{gateway}, {what}, c = {c}: CPU of"
                own = cpu[c][gateway]
                section.targets.append(Target(f"{of} nginx", own / cpu[c][PLAIN], limit, " x"))
                if ENVOY in cpu[c]:
                    ratio = own / cpu[c][ENVOY]
                    section.targets.append(Target(f"{of} Envoy", ratio, OF_ENVOY, " x"))


def measure(options: Options) -> Section:
    """Measure the relay with everything on."""
    section = Section("guarded", "Relay with everything on: JWT, 1,000 conditions, limits, traces")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = start_upstream(folder)
        stack.callback(upstream.stop)
        gateways = start_all(folder, upstream.port, options, section, stack)
        for kind in KINDS:
            measure_kind(gateways, folder, kind, options, section)
    return section
