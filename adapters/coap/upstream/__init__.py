"""CoAP servers as endpoints and sources."""
