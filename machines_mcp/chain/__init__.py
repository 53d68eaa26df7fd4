"""Plan a signed withdrawal's transaction, check it, and read its receipt. No key, no signature and no sending."""
