"""The directory: what is registered as Thing Descriptions, how it changes, how it is found."""
