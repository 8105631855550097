"""Puts together how people log in at the control API with a browser."""

from collections.abc import Callable

from adapters.control.login import Client, Login
from adapters.control.sessions import Sessions
from adapters.main.identity import Issuers
from adapters.oidc.code import CodeExchange
from gateway.settings import Config
from gateway.site import Site


def login_of(
    site: Site, config: Config, issuers: Issuers, clock: Callable[[], float]
) -> Login | None:
    """Return the login of a site, None without one; raises OSError for a secret it cannot read."""
    realm, rules = config.control.login, config.identity
    if not realm:
        return None
    issuer = next(one for one in config.issuer if one.realm == realm)
    file = issuer.client_secret_file
    secret = file.read_text().strip() if file is not None else ""
    provider = CodeExchange(issuer.url, issuer.client_id, secret, issuers.fetchers[realm], clock)
    sessions = Sessions(rules.sessions, rules.session_idle, rules.session_hours * 3600)
    site.identity.sources.append(sessions)
    return Login(site, Client(issuers.keys[realm], issuer.client_id, provider), sessions)
