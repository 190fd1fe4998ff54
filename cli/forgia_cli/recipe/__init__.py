"""``forgia recipe``."""
