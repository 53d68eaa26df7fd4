"""The state folder: database, journal, withdrawals, audit log, locks and keys."""
