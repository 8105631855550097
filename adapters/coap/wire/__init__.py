"""How CoAP messages look: options, formats, links, frames."""
