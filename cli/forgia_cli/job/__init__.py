"""``forgia job``."""
