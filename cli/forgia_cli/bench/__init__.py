"""Measuring what a cluster and a recipe do together."""
