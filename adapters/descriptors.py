"""File descriptors: each connection needs one, and the customary limit of 1,024 is soon reached."""

import logging
import resource

OTHERS = 2048
"""Descriptors for files, and for connections to endpoints."""

log = logging.getLogger("hilum")


def allow_descriptors(connections: int) -> None:
    """Raise the limit of open files as far as ``connections`` need it and the system lets us."""
    wanted = connections + OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "the system allows %d open files, %d connections may need %d: raise it, such as with "
            "ulimit -Hn or LimitNOFILE=, or lower [limits] connections",
            allowed,
            connections,
            wanted,
        )
