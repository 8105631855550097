"""The control API: operators' routes, each a thin way to make a Call (design 3)."""
