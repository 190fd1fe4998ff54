"""Datasets: reading what firms have, binding columns to the vocabulary, immutable versions with a manifest."""
