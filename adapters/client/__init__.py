"""What the command line talks to a gateway with."""

from adapters.client.client import Answer, Client, Problem, Unreachable
from adapters.client.sse import ServerEvent

__all__ = ["Answer", "Client", "Problem", "ServerEvent", "Unreachable"]
