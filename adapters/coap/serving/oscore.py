"""OSCORE: requests and answers that are protected end to end (RFC 8613). aiocoap does the
cryptography; everything else of a request is served as any other.

A security context is a folder: ``settings.json`` and ``secret.json`` as aiocoap reads and writes
them (sequence numbers are kept beside them), and ``principal.json``, which says whose it is:

    {"principal": "device:thermometer", "kind": "device"}

With a ``record`` in it the context counts as long as the site has a credential of that id.
"""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from aiocoap import oscore  # type: ignore[import-untyped]
from aiocoap.error import Error  # type: ignore[import-untyped]
from aiocoap.message import Direction  # type: ignore[import-untyped]
from aiocoap.message import Message as Plain
from aiocoap.numbers.codes import Code  # type: ignore[import-untyped]
from aiocoap.numbers.optionnumbers import OptionNumber  # type: ignore[import-untyped]

from adapters.coap.serving.peers import LARGEST
from adapters.coap.serving.turn import Client
from adapters.coap.wire import options as o
from adapters.coap.wire.codec import FETCH, POST, code_of
from adapters.coap.wire.options import Options, ordered
from gateway.egress import NOBODY
from policy.identity.tokens import is_kind, is_principal
from policy.model import Principal

log = logging.getLogger("hilum.coap")

AT_ONCE: Final = 1000
"""Sequence numbers that are taken at a time: each time is a write that the loop waits for."""
UNAUTHORIZED: Final = code_of("4.01")
BAD_REQUEST: Final = code_of("4.00")
BAD_OPTION: Final = code_of("4.02")
NOT_ALLOWED: Final = code_of("4.05")
_OUTER: Final = (POST, FETCH)

Holder = Callable[[str], Principal | None]


class Unprotectable(Exception):
    """A request that no context opens; ``code`` and ``detail`` are for the client."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class _Unrecorded(Exception):
    """A context that the site has no credential for."""


class Sealed(NamedTuple):
    """A protected message, as it goes over the wire."""

    code: int
    options: Options
    payload: bytes


class Challenged(Exception):
    """After a restart a client has to show that its request is fresh (RFC 8613 appendix B.1.2)."""

    def __init__(self, sealed: Sealed) -> None:
        super().__init__()
        self.sealed = sealed


class Opened(NamedTuple):
    """A request that was protected; ``binding`` ties its answers to it."""

    client: "SecureClient"
    code: int
    options: Options
    payload: bytes
    binding: Any


class SecureClient(Client):
    """Who holds a security context, wherever its messages come from."""

    __slots__ = ("context", "name")

    def __init__(self, name: str, context: Any, principal: Principal) -> None:
        super().__init__(NOBODY, principal, LARGEST)
        self.name = name
        self.context = context

    def seal(self, code: int, options: Options, payload: bytes, binding: Any) -> Sealed:
        """Protect an answer or a notification (RFC 8613 section 8.3)."""
        observed = [option for option in options if option[0] == o.OBSERVE]
        inner = Plain(code=Code(code), payload=payload)
        for number, value in options:
            inner_value = b"" if number == o.OBSERVE else value  # section 4.1.3.5.2
            inner.opt.add_option(OptionNumber(number).create_option(decode=inner_value))
        return _sealed(self.context.protect(inner, binding)[0], observed)


class Contexts:
    """The security contexts in a folder, each in a folder of its own.

    ``holder`` returns who has the context of a name by the site's records.
    """

    def __init__(self, folder: Path, holder: Holder) -> None:
        self._folder = folder
        self._holder = holder
        self.clients: dict[str, SecureClient] = {}
        self._by_id: dict[tuple[bytes, bytes], SecureClient] = {}
        self._principals: dict[str, Principal] = {}
        self._faulty: set[str] = set()

    def refresh(self) -> list[SecureClient]:
        """Load contexts that are new; forget and return those whose folders are gone."""
        there = set(self._names())
        gone = [client for name, client in self.clients.items() if name not in there]
        for client in gone:
            self._forget(client)
        self._faulty &= there
        for name in sorted(there - self.clients.keys() - self._faulty):
            try:
                self._load(name)
            except _Unrecorded:
                continue  # it may be recorded in a moment
            except (OSError, ValueError, KeyError, TypeError, Error) as error:
                self._faulty.add(name)
                log.warning("the OSCORE context %s cannot be used: %s", name, error)
        return gone

    def drop(self, name: str) -> SecureClient | None:
        """Forget a context whose credential is over; return who had it, if anybody."""
        client = self.clients.get(name)
        if client is not None:
            self._forget(client)
        return client

    def known(self, principal: str) -> Principal | None:
        """Return who this principal is by one of its contexts, None if it has none."""
        return self._principals.get(principal)

    def open(self, code: int, oscore_option: bytes, observe: int, payload: bytes) -> Opened:
        """Return what a protected request says (RFC 8613 section 8.2).

        Raises Unprotectable, and Challenged when the client has to send it again.
        """
        if code not in _OUTER:
            raise Unprotectable(NOT_ALLOWED, "a protected request is a POST or a FETCH")
        outer = Plain(code=Code(code), payload=payload)
        outer.opt.oscore = oscore_option
        outer.opt.observe = observe if observe >= 0 else None
        outer.direction = Direction.INCOMING
        client = self._client_of(oscore_option)
        try:
            inner, binding = client.context.unprotect(outer)
            found = [(int(option.number), option.encode()) for option in inner.opt.option_list()]
        except oscore.ReplayErrorWithEcho as error:
            raise Challenged(_sealed(error.to_message(), [])) from None
        except oscore.ReplayError:
            raise Unprotectable(UNAUTHORIZED, "this message has been here already") from None
        except oscore.DecodeError:
            raise Unprotectable(BAD_OPTION, "the OSCORE option cannot be read") from None
        except (Error, ValueError, IndexError, KeyError):
            raise Unprotectable(BAD_REQUEST, "the message cannot be decrypted") from None
        if observe == 1:  # aiocoap keeps the registration only
            found.append((o.OBSERVE, b"\x01"))
        return Opened(client, int(inner.code), ordered(found), inner.payload, binding)

    def close(self) -> None:
        """Give the contexts back to the disk, so that they can be gone on with."""
        for client in tuple(self.clients.values()):
            self._forget(client)

    def _names(self) -> Iterator[str]:
        try:
            for entry in self._folder.iterdir():
                if (entry / "principal.json").is_file():
                    yield entry.name
        except OSError:
            return

    def _load(self, name: str) -> None:
        folder = self._folder / name
        said = json.loads((folder / "principal.json").read_text())
        id_, kind = str(said["principal"]), str(said.get("kind", "device"))
        if not is_principal(id_) or not is_kind(kind) or kind == "anonymous":
            raise ValueError(f"principal.json: {id_!r} of kind {kind!r} is no principal")
        principal = Principal(id_, kind, method="oscore", credential=f"oscore:{name}")
        if "record" in said:
            recorded = self._holder(name)
            if recorded is None:
                raise _Unrecorded
            principal = recorded
        context = _read(folder)
        key = (context.recipient_id, context.id_context or b"")
        if key in self._by_id:
            _release(context)
            raise ValueError(f"its ids are those of {self._by_id[key].name}")
        self.clients[name] = self._by_id[key] = SecureClient(name, context, principal)
        self._principals.setdefault(principal.id, principal)

    def _forget(self, client: SecureClient) -> None:
        del self.clients[client.name]
        self._by_id = {key: one for key, one in self._by_id.items() if one is not client}
        self._principals = {one.principal.id: one.principal for one in self.clients.values()}
        _release(client.context)
        client.context = _GONE

    def _client_of(self, oscore_option: bytes) -> SecureClient:
        try:
            ids = oscore.CanUnprotect._uncompress(oscore_option, b"")[2]  # noqa: SLF001
        except (Error, ValueError, IndexError, UnboundLocalError):
            raise Unprotectable(BAD_OPTION, "the OSCORE option cannot be read") from None
        key = (ids.get(oscore.COSE_KID, b""), ids.get(oscore.COSE_KID_CONTEXT, b""))
        client = self._by_id.get(key)
        if client is None and oscore.COSE_KID in ids and key[1]:
            client = self._by_id.get((key[0], b""))
        if client is None:
            raise Unprotectable(UNAUTHORIZED, "there is no such security context")
        return client


class _Gone:
    """Stands for a context whose folder is gone."""

    def protect(self, *_: object) -> Any:
        raise oscore.ContextUnavailable("the security context is gone")

    unprotect = protect


_GONE: Final = _Gone()


def _read(folder: Path) -> Any:
    """Return a folder's context; one that cannot be read leaves nothing locked."""
    context = oscore.FilesystemSecurityContext.__new__(oscore.FilesystemSecurityContext)
    try:
        context.__init__(str(folder), sequence_number_chunksize_start=AT_ONCE)
    except Exception:
        lock, context.lockfile = context.lockfile, None  # or its end would write what is wrong
        if lock is not None:
            lock.release()
        raise
    return context


def _release(context: Any) -> None:
    """Write a context's sequence numbers, and unlock its folder."""
    lock = context.lockfile
    if lock is None:
        return
    try:
        context._destroy()  # noqa: SLF001 (only its destructor calls it, whenever that is)
    except OSError as error:
        if not isinstance(error, FileNotFoundError):  # its folder went with its credential
            log.warning("the OSCORE context in %s is not written: %s", context.basedir, error)
        context.lockfile = None
        lock.release()


def _sealed(outer: Any, observed: Options) -> Sealed:
    options = [(int(option.number), option.encode()) for option in outer.opt.option_list()]
    kept = [option for option in options if option[0] != o.OBSERVE]
    return Sealed(int(outer.code), ordered([*kept, *observed]), outer.payload)
