"""A device that nobody knows yet: how it is let in, step by step, over MQTT and CoAP."""
