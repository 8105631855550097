"""How MQTT packets look: both versions, their limits, topics."""
