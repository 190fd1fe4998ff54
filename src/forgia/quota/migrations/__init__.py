"""What alembic runs to bring a ledger's tables up to the code's; called by ``forgia.quota.engine`` alone."""
