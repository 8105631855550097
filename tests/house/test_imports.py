"""The chain, the purity of the core, and one file of ours in front of each library."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from importlinter import api  # noqa: F401  (importing it configures import-linter)
from importlinter.application import use_cases
from importlinter.application.user_options import UserOptions

from tests.house.sources import PACKAGES, imports, python_files
from tests.support import ROOT

# Modules that a contract names although a later step of the plan brings them.
COMING = {"policy.quality.checks"}

# Which file of ours stands in front of which library. A folder only where the library is a
# framework that our code is written in, not a tool behind an interface of ours.
LIBRARIES = {
    "aiocoap": "adapters/coap/*.py",
    "aiomqtt": "adapters/mqtt/outbound/link.py",
    "argon2": "policy/identity/passwords.py",
    "casbin": "policy/casbin_exchange/store.py",
    "cbor2": "adapters/coap/wire/formats.py",
    "cryptography": "policy/identity/site_ca.py",
    "elementpath": "registry/search/xpath.py",
    "fastjsonschema": "registry/things/validation.py",
    "httptools": "adapters/http/*.py",
    "joserfc": "policy/identity/jwt.py",
    "jsonpath_rfc9535": "registry/search/jsonpath.py",
    "mbedtls": "adapters/coap/serving/dtls.py",
    "mypy_extensions": "*",  # marks for the optional compiled form
    "mqtt5": "adapters/mqtt/wire/codec5.py",
    "msgspec": "*",  # the house's data types and JSON, as dataclasses are: decision 0001
    "opentelemetry": "adapters/otlp/exporter.py",
    "paho": "adapters/mqtt/outbound/link.py",  # what aiomqtt does not show of it
    "prometheus_client": "adapters/control/metrics.py",
    "pyld": "registry/things/expansion.py",
    "pyoxigraph": "registry/*/rdf.py",
    "pyshacl": "registry/ontology/shapes.py",
    "rdflib": "registry/ontology/graphs.py",
    "rich": "adapters/cli/*.py",
    "ruamel": "registry/yaml_text.py",
    "starlette": "adapters/control/*.py",
    "typer": "adapters/cli/*.py",
    "uvicorn": "adapters/control/server.py",
    "uvloop": "adapters/main/*.py",
    "wsproto": "adapters/*/websocket.py",
    "ifaddr": "adapters/dnssd/announce.py",
    "zeroconf": "adapters/dnssd/announce.py",
}

# The pure core may use these types, but not ask them what time it is.
CLOCKS = {"now", "utcnow", "today"}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def contract(wanted: str) -> dict[str, Any]:
    contracts = project()["tool"]["importlinter"]["contracts"]
    return next(one for one in contracts if one["id"] == wanted)


def path_of(module: str) -> Path:
    return Path(*module.split(".")).with_suffix(".py")


def options_for_what_exists() -> UserOptions:
    """Return the contracts of pyproject.toml without the modules that are still to come."""
    options = deepcopy(use_cases.read_user_options(str(ROOT / "pyproject.toml")))
    for one in options.contracts_options:
        if "source_modules" in one:
            one["source_modules"] = [
                name for name in one["source_modules"] if (ROOT / path_of(name)).exists()
            ]
    return options


def test_the_contracts_name_modules_that_exist():
    missing = {
        name for name in contract("pure")["source_modules"] if not (ROOT / path_of(name)).exists()
    }
    assert missing <= COMING, "renamed? then rename them in pyproject.toml too"


@pytest.mark.parametrize("wanted", ["chain", "pure", "adapters", "cycles"])
def test_the_contracts_are_kept(wanted, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = options_for_what_exists()
    options.session_options["exclude_type_checking_imports"] = str(wanted == "cycles")
    use_cases._register_contract_types(options)
    report = use_cases.create_report(options, limit_to_contracts=(wanted,), cache_dir=None)
    use_cases.render_report(report)
    assert not report.contains_failures, capsys.readouterr().out


def test_what_the_pure_core_imports_of_ours_is_pure_too():
    """Else moving code into a new file would take it out of the contract and out of coverage."""
    pure = contract("pure")["source_modules"]
    allowed = {*pure, "gateway.ports"}
    errors = [
        f"{path}:{line} imports {name}, which is not in the list of pure modules in pyproject.toml"
        for path in map(path_of, pure)
        if (ROOT / path).exists()
        for line, name in imports(path)
        if name.partition(".")[0] in PACKAGES and name not in allowed
    ]
    assert not errors, "\n".join(errors)


def test_coverage_is_asked_of_exactly_the_pure_modules():
    included = project()["tool"]["coverage"]["report"]["include"]
    assert included == [str(path_of(name)) for name in contract("pure")["source_modules"]]


@pytest.mark.parametrize("module", contract("pure")["source_modules"])
def test_a_pure_module_does_not_read_the_clock(module):
    if not (ROOT / path_of(module)).exists():
        return
    tree = ast.parse((ROOT / path_of(module)).read_text())
    names = {"datetime", "date"}
    calls = [
        f"{path_of(module)}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in CLOCKS
        and isinstance(node.value, ast.Name | ast.Attribute)
        and (node.value.id if isinstance(node.value, ast.Name) else node.value.attr) in names
    ]
    assert not calls, "take `now` as an argument"


def foreign_imports(*folders: str) -> Iterator[tuple[Path, int, str]]:
    for path in python_files(*folders):
        for line, name in imports(path):
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and top not in PACKAGES:
                yield path, line, top


def test_each_library_stands_behind_its_file():
    errors = []
    for path, line, library in foreign_imports(*PACKAGES):
        allowed = LIBRARIES.get(library)
        if allowed is None:
            errors.append(f"{path}:{line} imports {library}, which LIBRARIES does not know")
        elif not fnmatch(str(path), allowed):
            errors.append(f"{path}:{line} imports {library}, which belongs behind {allowed}")
    assert not errors, "\n".join(["see LIBRARIES in tests/house/test_imports.py", *errors])


def test_the_sdk_enters_other_peoples_processes_alone():
    """It is a distribution of its own, so it imports none of the four packages."""
    errors = [
        f"{path}:{line} imports {name}"
        for path in python_files("sdk")
        for line, name in imports(path)
        if name.partition(".")[0] in PACKAGES
    ]
    assert not errors
