"""What tests of certificates and devices share: another authority, and clients of a site."""

import asyncio
import http.client
import json
import logging
import ssl
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiocoap
from aiocoap.numbers.codes import Code
from aiocoap.oscore import FilesystemSecurityContext, NotAProtectedMessage

from tests.support import require_program

URN = "urn:hilum:principal:"


class OpensslCa:
    """Another authority, made with openssl; its certificates say what they are told to."""

    def __init__(self, folder: Path, name: str = "other") -> None:
        self.folder = folder
        folder.mkdir()
        self.pem, self.key = folder / "ca.pem", folder / "ca.key"
        self._openssl = require_program("openssl")
        self._serial = 1000
        usage = "keyUsage=critical,keyCertSign,cRLSign"
        words = ("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "30")
        self.run(*words, "-subj", f"/CN={name}", "-addext", usage)
        (folder / "index.txt").touch()
        (folder / "crlnumber").write_text("01\n")
        (folder / "ca.cnf").write_text(_CNF)

    def run(self, *words: str) -> None:
        command = [self._openssl, *words]
        subprocess.run(command, cwd=self.folder, capture_output=True, check=True)

    def issue(
        self, name: str, *, san: str = "", cn: str = "x", when: tuple[str, str] = ("", "")
    ) -> Path:
        """Return a file with a certificate and its key."""
        self._serial += 1
        self.run(
            "req",
            "-new",
            *_KEY,
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={cn}",
        )
        (self.folder / "ext").write_text(
            f"subjectAltName={san}\n" if san else "basicConstraints=CA:FALSE\n"
        )
        (self.folder / "serial").write_text(f"{self._serial:04d}\n")
        start, end = when
        dates = ["-startdate", start, "-enddate", end] if start else ["-days", "5"]
        self.run("ca", "-batch", "-config", "ca.cnf", "-in", f"{name}.csr", "-out", f"{name}.crt",
                 "-extfile", "ext", *dates)  # fmt: skip
        path = self.folder / f"{name}.pem"
        path.write_text(
            (self.folder / f"{name}.crt").read_text() + (self.folder / f"{name}.key").read_text()
        )
        return path

    def crl(self, *revoked: str) -> Path:
        """Revoke certificates by their names, and return the list."""
        for name in revoked:
            self.run("ca", "-config", "ca.cnf", "-revoke", f"{name}.crt")
        self.run("ca", "-config", "ca.cnf", "-gencrl", "-out", "new.pem")
        (self.folder / "new.pem").replace(self.folder / "crl.pem")
        return self.folder / "crl.pem"


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_CNF = """
[ca]
default_ca = one
[one]
database = index.txt
serial = serial
crlnumber = crlnumber
certificate = ca.pem
private_key = ca.key
new_certs_dir = .
default_md = sha256
default_crl_days = 5
policy = any
unique_subject = no
[any]
commonName = optional
"""


def https(url: str, ca: Path, pem: Path | None = None) -> http.client.HTTPSConnection:
    """Return a connection that shows a certificate."""
    context = ssl.create_default_context(cafile=ca)
    if pem is not None:
        context.load_cert_chain(pem)
    return http.client.HTTPSConnection(urlsplit(url).netloc, context=context, timeout=10)


def ask(
    connection: http.client.HTTPConnection, path: str, document: Any = None, **fields: str
) -> tuple[int, Any]:
    """POST JSON; return the status and the answer."""
    headers = {"content-type": "application/json", **fields}
    connection.request("POST", path, json.dumps(document or {}).encode(), headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read() or b"null")


def write_context(folder: Path, keys: dict[str, Any]) -> Path:
    """Write a device's side of a security context as aiocoap reads it."""
    folder.mkdir(parents=True)
    settings = {
        "sender-id_hex": keys["senderId"],
        "recipient-id_hex": keys["recipientId"],
        "algorithm": keys["algorithm"],
        "kdf-hashfun": keys["hkdf"],
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    secret = {"secret_hex": keys["masterSecret"], "salt_hex": keys["masterSalt"]}
    (folder / "secret.json").write_text(json.dumps(secret))
    return folder


async def oscore(
    url: str, folder: Path, path: str, payload: bytes = b"", code: Code = Code.POST
) -> aiocoap.Message:
    """Make one request under a security context."""
    logging.getLogger("coap").setLevel(logging.CRITICAL)
    context = await aiocoap.Context.create_client_context(transports=["oscore", "simple6"])
    secret = FilesystemSecurityContext(str(folder))
    context.client_credentials[f"{url}/*"] = secret
    try:
        message = aiocoap.Message(code=code, uri=f"{url}/{path}", payload=payload)
        message.opt.content_format = 50
        return await asyncio.wait_for(context.request(message).response, 10)
    except NotAProtectedMessage as plain:  # the context is none that the site knows
        return plain.plain_message
    finally:
        context.client_credentials.clear()
        await context.shutdown()
        secret._destroy()
