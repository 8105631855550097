"""The HTTP data listener: connections, requests, event streams."""
