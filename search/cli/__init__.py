"""What the commands share: options, checks before a start, operations on a search."""
