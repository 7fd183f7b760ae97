"""Which point of the space to try next."""
