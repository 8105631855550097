"""The resource directory over CoAP (RFC 9176)."""
