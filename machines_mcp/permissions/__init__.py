"""Who may do what, and who approved it: policy, limits, approvals, passphrase."""
