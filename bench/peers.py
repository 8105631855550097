"""The gateways that Hilum is compared with, and the upstream behind all of them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from bench import workload
from bench.process import (
    GATEWAY_CORE,
    LOAD_CORE,
    Process,
    find_program,
    free_port,
    wait_for_port,
)

KEEP = 256
"""Idle upstream connections that each gateway may keep."""


class Peer:
    """A running program that listens on ``port``."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        wait_for_port(process, port)

    def stop(self) -> None:
        self.process.stop()


def start_upstream(folder: Path) -> Peer:
    """Start an nginx that answers at once: JSON of 200 bytes, or a file of a size in its path."""
    port = free_port()
    files = folder / "files"
    files.mkdir()
    for size in workload.SIZES:
        (files / str(size)).write_bytes(b"x" * size)
    body = workload.BODY.decode()
    http = f"""
    keepalive_requests 1000000000;
    open_file_cache max=16;
    default_type application/json;
    client_max_body_size 0;
    upstream itself {{ server 127.0.0.1:{port}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 '{body}'; }}
        location /files/ {{ root {folder}; }}
        location /{workload.FRESH}/ {{
            add_header X-Request-Id $request_id;
            return 200 '{body}';
        }}
        location = /status {{ stub_status; }}
        # `return` answers before the payload has come; this location takes all of it first.
        location /sink/ {{
            client_body_buffer_size 2m;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_pass_request_body off;
            proxy_pass http://itself/answer;
        }}
    }}
    """
    return Peer(_nginx("upstream", folder / "upstream", http, LOAD_CORE), port)


def start_nginx(folder: Path, upstream: int) -> Peer:
    """Start nginx as a plain proxy: what the relay itself costs there."""
    return _nginx_proxy(folder / "nginx", upstream, "", "")


def start_guarded_nginx(folder: Path, upstream: int, tokens: Sequence[str]) -> Peer:
    """Start nginx with a map of tokens and a request limit that is never reached."""
    entries = "".join(f'"Bearer {token}" c{n};' for n, token in enumerate(tokens))
    before = f"""
    map_hash_bucket_size 256;
    map $http_authorization $caller {{ default ""; {entries} }}
    limit_req_zone $caller zone=callers:10m rate=1000000r/s;
    """
    within = 'if ($caller = "") { return 401; } limit_req zone=callers burst=1000000 nodelay;'
    return _nginx_proxy(folder / "guarded", upstream, before, within)


def start_envoy(folder: Path, upstream: int, tokens: Sequence[str], jwks: str = "") -> Peer:
    """Start Envoy with RBAC over the same tokens and a local rate limit, concurrency 1.

    With ``jwks`` it also verifies the tokens with these keys.
    """
    port = free_port()
    path = folder / "envoy.json"
    path.write_text(json.dumps(_envoy(port, upstream, tokens, jwks)))
    command = [
        find_program("envoy"),
        *("-c", str(path), "--concurrency", "1", "--use-dynamic-base-id"),
        *("--log-level", "error", "--disable-hot-restart"),
    ]
    return Peer(Process("Envoy", command, GATEWAY_CORE, folder / "envoy.log"), port)


def _nginx_proxy(folder: Path, upstream: int, before: str, within: str) -> Peer:
    port = free_port()
    http = f"""
    {before}
    upstream service {{ server 127.0.0.1:{upstream}; keepalive {KEEP};
        keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        keepalive_requests 1000000000;
        client_max_body_size 0;
        # Its best for large payloads: all in memory, nothing spilled to disk.
        client_body_buffer_size 2m;
        proxy_buffer_size 16k;
        proxy_buffers 8 256k;
        proxy_busy_buffers_size 512k;
        location / {{
            {within}
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://service;
        }}
    }}
    """
    return Peer(_nginx("nginx", folder, http, GATEWAY_CORE), port)


def _nginx(name: str, folder: Path, http: str, core: int) -> Process:
    folder.mkdir()
    path = folder / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started by root, its worker would be another user, who cannot read this folder.
    user = "user root;" if os.geteuid() == 0 else ""
    path.write_text(
        f"daemon off; worker_processes 1; {user} "
        f"pid {folder}/pid; error_log {folder}/error.log warn;\n"
        "events { worker_connections 4096; }\n"
        f"http {{ access_log off; {temporary} {http} }}\n"
    )
    command = [find_program("nginx"), "-p", str(folder), "-e", str(folder / "error.log")]
    return Process(name, [*command, "-c", str(path)], core, folder / "log")


def _jwt_filter(jwks: str) -> dict[str, object]:
    """Return Envoy's filter that verifies tokens of the benchmark's issuer."""
    extension = "type.googleapis.com/envoy.extensions.filters"
    provider = {
        "issuer": workload.ISSUER,
        "audiences": [workload.AUDIENCE],
        "local_jwks": {"inline_string": jwks},
        "forward": True,
        "jwt_cache_config": {"jwt_cache_size": 1000},
    }
    return {
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type": f"{extension}.http.jwt_authn.v3.JwtAuthentication",
            "providers": {"bench": provider},
            "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "bench"}}],
        },
    }


def _envoy(port: int, upstream: int, tokens: Sequence[str], jwks: str) -> dict[str, object]:
    """Return Envoy's configuration as JSON (its API, version 3)."""
    extension = "type.googleapis.com/envoy.extensions.filters"
    callers = [
        {"header": {"name": "authorization", "string_match": {"exact": f"Bearer {token}"}}}
        for token in tokens
    ]
    rules = {
        "action": "ALLOW",
        "policies": {
            "callers": {
                "permissions": [{"url_path": {"path": {"prefix": "/"}}}],
                "principals": [{"or_ids": {"ids": callers}}],
            }
        },
    }
    enabled = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    bucket = {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"}
    filters = [
        {
            "name": "envoy.filters.http.rbac",
            "typed_config": {"@type": f"{extension}.http.rbac.v3.RBAC", "rules": rules},
        },
        {
            "name": "envoy.filters.http.local_ratelimit",
            "typed_config": {
                "@type": f"{extension}.http.local_ratelimit.v3.LocalRateLimit",
                "stat_prefix": "limit",
                "token_bucket": bucket,
                "filter_enabled": enabled,
                "filter_enforced": enabled,
            },
        },
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{extension}.http.router.v3.Router"},
        },
    ]
    if jwks:
        filters.insert(0, _jwt_filter(jwks))
    manager = {
        "@type": (f"{extension}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "relay",
        "codec_type": "HTTP1",
        "http_filters": filters,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "service"}}],
                }
            ]
        },
    }
    cluster = {
        "name": "service",
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [{"max_requests": 100_000}]},
        "load_assignment": {
            "cluster_name": "service",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream)}}]}],
        },
    }
    listener = {
        "name": "relay",
        "address": _address(port),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
