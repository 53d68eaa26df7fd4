-- Audit rows that were pruned: each a run of reads without a gap. What is left of them keeps the chain verifiable.
CREATE TABLE audit_pruned (
    first INTEGER PRIMARY KEY,           -- the number of the first row
    last  INTEGER NOT NULL,
    mac   BLOB NOT NULL,                 -- the MAC of the last row, to which the next one is chained
    macs  BLOB NOT NULL,                 -- the first 8 bytes of each row's MAC, for checkpoints that name one
    seal  BLOB NOT NULL                  -- HMAC-SHA-256 over the MAC before the run, and all of the above
) STRICT;
