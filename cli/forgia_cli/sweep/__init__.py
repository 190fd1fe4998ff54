"""``forgia sweep``."""
