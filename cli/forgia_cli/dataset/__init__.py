"""``forgia dataset``."""
