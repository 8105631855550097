"""The directory API of W3C WoT Discovery: things, and what happens to them."""
