"""The WebSocket facade."""
