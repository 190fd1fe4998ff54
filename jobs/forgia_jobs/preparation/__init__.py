"""Samples encoded once for many runs, by as many workers as there are."""
