-- Wrong passphrases, counted for each way to type one, so that no way locks another.
DROP TABLE passphrase_tries;
CREATE TABLE passphrase_tries (
    way      TEXT PRIMARY KEY,
    wrong    INTEGER NOT NULL,            -- in a row; the next try waits 1, 2, 4 ... 60 seconds
    last_at  REAL NOT NULL,               -- when the last try began
    checking INTEGER NOT NULL,            -- 1 while that try is being checked
    recent   INTEGER NOT NULL,            -- wrong tries of about a day, for the alarm
    since    REAL NOT NULL                -- the first of those
) STRICT;
