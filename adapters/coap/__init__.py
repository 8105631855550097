"""CoAP on the wire: the server's listener and what speaks to CoAP endpoints (RFC 7252)."""
