"""``GET /discover`` and ``POST /match``."""
