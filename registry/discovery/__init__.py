"""Finding what is registered by what it means: typed discovery, and matching of services."""
