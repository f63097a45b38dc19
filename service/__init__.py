"""offramp's serving side: packages in, budgets in, answers and receipts out.

Nothing here imports torch or `models`.
"""
