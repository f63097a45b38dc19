"""One module a shipped package; run it to make the package again."""
