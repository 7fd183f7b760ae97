"""What other loops have written: read, understood, summarised."""
