-- The operator confirmed the clock: audit rows up to `seq` may be later than `at`, and prove nothing about the time.
CREATE TABLE clock_rebases (
    seq INTEGER PRIMARY KEY,
    at  REAL NOT NULL                    -- seconds since the epoch, UTC
) STRICT;
