"""W3C Thing Descriptions 1.1: read strictly, made into virtual objects, and shown as views."""
