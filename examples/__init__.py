"""Examples: complete systems on one machine, made to be read and run."""
