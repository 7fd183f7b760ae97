"""What is scored: the screening task's metrics, classes and degenerate models; the only package that names them."""
