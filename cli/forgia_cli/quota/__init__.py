"""``forgia quota``: budgets, for those who give them and those who use them."""
