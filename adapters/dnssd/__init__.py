"""Introduction by DNS-SD (W3C WoT Discovery 6.2)."""
