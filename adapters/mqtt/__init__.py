"""MQTT 3.1.1 and 5.0: a site is the server."""
