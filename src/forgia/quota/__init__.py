"""Budgets: an append-only ledger, what is reserved in it at submission and charged from the accounting."""
