"""A node's side of a search on more than one machine."""
