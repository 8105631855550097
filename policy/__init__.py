"""What may happen? Decisions with reasons, resolution of names to endpoints, identities."""

OWNER = "hilum"
