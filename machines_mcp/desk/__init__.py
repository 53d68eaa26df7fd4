"""The desk: local pages to approve calls, enter identity data, and read the audit log. Loopback only."""
