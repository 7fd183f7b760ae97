"""What people read: summaries, frontier, costs, evidence, status."""
