"""Body-weight management: case study 1 of the paper that Hilum's model comes from."""
