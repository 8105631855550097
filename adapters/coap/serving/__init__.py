"""The CoAP listener: transports, requests, observation, blocks, OSCORE."""
