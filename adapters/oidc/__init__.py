"""OpenID providers: their metadata and keys (OpenID Connect Discovery 1.0, RFC 7517)."""
