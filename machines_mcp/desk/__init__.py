"""The desk: the pages on which a person decides, fills in identity data, and reads the audit. On loopback only."""
