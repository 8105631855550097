"""Clients' connections: TCP, TLS, WebSocket; their limits and their turns."""
