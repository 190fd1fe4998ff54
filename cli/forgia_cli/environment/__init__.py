"""``forgia environment``."""
