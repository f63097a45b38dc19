"""Networks cut into stages, one module a family."""
