"""A model to take home: rebuilt from its commit, exported, given a threshold, described."""
