"""Edits of train.py by an agent, by the built-in catalogue or from outside: asked for, vetted, handed to the search."""
