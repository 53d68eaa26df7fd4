"""The forms of values: addresses of blockchains, countries, phone numbers and birth dates."""
