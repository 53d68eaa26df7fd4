"""Tasks, hostile texts and agents that measure whether an agent succeeds and can't be turned."""
