"""What is next and what is kept; touches no file, process or clock."""
