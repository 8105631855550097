"""A building whose 200 devices are found by what they mean, and a second site beside it."""
