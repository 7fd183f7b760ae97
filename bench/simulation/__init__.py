"""Made-up worlds, and the product's own search in them, in virtual time."""
