"""What alembic runs to bring a ledger's tables up to the code's; called by ``forgia.quota.engine`` alone."""

REVISIONS = ("v0001",)
"""Every state that the tables were ever in, as alembic names them, the last being the one of this code."""
