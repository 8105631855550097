"""How does it look on the wire? Protocols, stores, the control API and the command line."""

OWNER = "hilum"
