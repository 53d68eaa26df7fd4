-- Changes that a person stopped, for one user or, with an empty user_id, for all.
CREATE TABLE freezes (
    user_id   TEXT PRIMARY KEY,
    since     REAL NOT NULL,             -- seconds since the epoch, UTC
    frozen_by TEXT NOT NULL              -- desk or terminal
) STRICT;
