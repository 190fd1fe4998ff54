"""``forgia profile``."""
