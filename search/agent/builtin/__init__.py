"""The built-in agent: a catalogue of edits that needs no model."""
