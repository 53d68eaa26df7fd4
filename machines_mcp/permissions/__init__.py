"""Who may do what, and who said yes: policy, limits, approvals, passphrase."""
