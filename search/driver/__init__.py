"""One running search: the only writer."""
