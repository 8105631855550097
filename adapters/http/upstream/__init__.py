"""Services over HTTP: pooled connections, calls, probes."""
