"""HTTP on the wire: the data listener, the upstream pool, server-sent events, the WebSocket."""
