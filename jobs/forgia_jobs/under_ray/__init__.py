"""The same attempt where Ray starts the ranks."""
