"""Who is told when something in force changes."""

from collections.abc import Callable, Collection, Sequence

from gateway.ledger import Entered
from policy.model import Principal
from registry.model import RegistrationId
from registry.names import Name


class Watchers:
    """Who is told when something in force changes; adapters and channels add themselves."""

    def __init__(self) -> None:
        self.gone: list[Callable[[Name], None]] = []
        """A channel exists no more, or another one begins under its name."""
        self.access: list[Callable[[], None]] = []
        """Access rules changed: what is open must be decided again."""
        self.credential: list[Callable[[Collection[str]], None]] = []
        """Some credentials, a set of their ids, are no longer valid."""
        self.deliveries: list[Callable[[], None]] = []
        """Bindings of channels to methods, or to sources, changed."""
        self.registrations: list[Callable[[RegistrationId], None]] = []
        """A registration began, changed or ended."""
        self.entered: list[Callable[[Sequence[Entered]], None]] = []
        """Changes are in the catalog; their acknowledgement waits until all are told."""
        self.spaces: list[Callable[[], None]] = []
        """Spaces of free topics changed."""
        self.logins: list[Callable[[Principal, str, str], None]] = []
        """Somebody began a session: who, over which protocol, from which address."""

    def began(self, principal: Principal, protocol: str, peer: str) -> None:
        """Tell of a session that begins."""
        for tell in self.logins:
            tell(principal, protocol, peer)
