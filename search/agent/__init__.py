"""Edits of train.py: asked for, validated, tried for a few seconds."""
