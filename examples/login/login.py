"""The microservice Login 1.0.0 (S3 III-F): it knows people by their passwords.

A login generates policies, which end with it: its user may use the band. About plans nothing is
generated: the gateway asks ``decide`` when one is first used.

    python -m examples.login.login --site http://127.0.0.1:8080 --token-file login.token
"""

import hashlib
import hmac
import secrets
import time
from typing import Any

from examples.weight.server import serve
from examples.weight.service import Microservice

SESSION = 600
"""Seconds that a login lasts."""
THREAT = 5
"""With a threat level of so much nobody starts anything new."""
SITE = "site:first-use"
"""Who asks ``decide``: the gateway itself."""
LABEL = "hilum/first-use-of"
"""Policies with this label go when the rights of whom it names are revoked."""


class Accounts:
    """People and their passwords, as scrypt keeps them."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self._salts = {user: secrets.token_bytes(16) for user in passwords}
        self._keys = {user: self._key(user, text) for user, text in passwords.items()}
        self._until: dict[str, float] = {}

    def log_in(self, user: str, password: str) -> bool:
        """Begin a session, if the password is right."""
        known = self._keys.get(user, b"")
        if not hmac.compare_digest(self._key(user, password), known):
            return False
        self._until[user] = time.time() + SESSION
        return True

    def log_out(self, user: str) -> None:
        """End a session."""
        self._until.pop(user, None)

    def until(self, user: str) -> float:
        """Return the Unix time at which a session ends, 0 without one."""
        until = self._until.get(user, 0.0)
        return until if until > time.time() else 0.0

    def _key(self, user: str, password: str) -> bytes:
        salt = self._salts.get(user, b"nobody")
        return hashlib.scrypt(password.encode(), salt=salt, n=1 << 14, r=8, p=1)


def policies(user: str) -> list[dict[str, Any]]:
    """Return the policies of a session: what its user may do at once."""
    rights = {"steps": ["subscribe"], "add": ["call"]}
    return [
        {
            "apiVersion": "hilum/v1",
            "kind": "AccessPolicy",
            "metadata": {
                "name": f"login-{user.replace(':', '-')}-{member}",
                "labels": {LABEL: user},
                "ttl": SESSION,
            },
            "spec": {
                "effect": "allow",
                "subjects": [{"principal": user}],
                "actions": actions,
                "names": [f"Band/{member}"],
            },
        }
        for member, actions in rights.items()
    ]


def main() -> None:
    """Serve logins until killed."""
    service = Microservice("Login")
    accounts = Accounts({"user:ann": "correct horse", "user:bob": "battery staple"})

    def answer(_: str, path: list[str], args: dict[str, Any], who: str) -> Any:
        match path:
            case ["login"] if accounts.log_in(who, str(args.get("password", ""))):
                service.site.call("$site/policy/apply", policies(who))
                return {"user": who, "until": accounts.until(who)}
            case ["login"]:
                raise ValueError("wrong password")
            case ["logout"]:
                accounts.log_out(who)
                return service.site.call("$site/policy/revoke", {"principal": who})
            case ["decide"] if who == SITE:
                return decide(accounts, args)
        raise KeyError("/".join(path))

    url = serve(answer, service.key)
    methods = {m: {"endpoints": [{"url": f"{url}/{m}"}]} for m in ("login", "logout", "decide")}
    service.register({"name": "Login", "methods": methods})
    service.rest()


def decide(accounts: Accounts, question: dict[str, Any]) -> dict[str, Any]:
    """Answer the gateway's question about a first use."""
    reads = ["environment.threat"]
    if question["environment"]["threat"] >= THREAT:
        return {"allow": False, "reason": "not while the site is under attack", "reads": reads}
    until = accounts.until(question["principal"])
    if not until:
        return {"allow": False, "reason": "log in first", "hard": 0}
    return {"allow": True, "reason": "logged in", "until": until, "reads": reads}


if __name__ == "__main__":
    main()
