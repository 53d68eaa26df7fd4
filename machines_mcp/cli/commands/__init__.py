"""The commands, grouped by purpose. Each imports its dependencies when it runs."""
