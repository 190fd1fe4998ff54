"""Versioned models of the registry."""
