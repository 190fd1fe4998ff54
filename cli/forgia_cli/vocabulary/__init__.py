"""``forgia vocabulary``."""
