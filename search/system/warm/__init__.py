"""A Python that has imported what programs need, and waits: a run is a fork of it, and waits for no import."""
