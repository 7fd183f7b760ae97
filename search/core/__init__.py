"""The words of a search: its types, its events and state, recipes, spaces, paths."""
