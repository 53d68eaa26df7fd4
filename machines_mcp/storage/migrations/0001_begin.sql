-- What waits for a person, what a quote promised, what a withdrawal became.
-- No column here ever holds a PAN, CVC, token, partner key or KYC value.

CREATE TABLE intents (
    id           TEXT PRIMARY KEY,
    tool         TEXT NOT NULL,
    effect       TEXT NOT NULL,
    user_id      TEXT NOT NULL,
    digest       TEXT NOT NULL,          -- keyed hash of the canonical arguments
    question     TEXT NOT NULL,          -- what the person reads, frozen here
    state        TEXT NOT NULL CHECK (state IN ('waiting', 'granted', 'executing', 'done', 'failed', 'refused')),
    created_at   REAL NOT NULL,          -- seconds since the epoch, UTC
    expires_at   REAL NOT NULL,
    decided_by   TEXT,
    outcome      TEXT                    -- the first answer, given again to a repeated call
) STRICT;
CREATE INDEX intents_waiting ON intents (state, expires_at);

CREATE TABLE quotes (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL,
    terms       TEXT NOT NULL,           -- JSON: amount, destination, source, admin address, estimate
    created_at  REAL NOT NULL,
    expires_at  REAL NOT NULL,
    used_by     TEXT                     -- the withdrawal that consumed it
) STRICT;

CREATE TABLE withdrawals (
    id          TEXT PRIMARY KEY,
    user_id     TEXT NOT NULL,
    quote_id    TEXT NOT NULL REFERENCES quotes (id),
    status      TEXT NOT NULL,
    execution   TEXT,                    -- JSON as the API gave it, for the transaction on chain
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL
) STRICT;
