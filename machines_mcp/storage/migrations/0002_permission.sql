-- What a person reads and what limits count, beside each intent.
ALTER TABLE intents ADD COLUMN asked_by TEXT NOT NULL DEFAULT '';   -- the client program, as it called itself
ALTER TABLE intents ADD COLUMN policy TEXT NOT NULL DEFAULT '';     -- the digest of the policy it was judged by
ALTER TABLE intents ADD COLUMN stakes TEXT NOT NULL DEFAULT '{"question":""}';   -- JSON: facts, destination, card limit, sink
ALTER TABLE intents ADD COLUMN amount_cents INTEGER;                -- money that leaves, for the totals of a day
ALTER TABLE intents ADD COLUMN card_id TEXT;
ALTER TABLE intents ADD COLUMN decided_at REAL;
CREATE INDEX intents_by_tool ON intents (tool, created_at);

CREATE TABLE audit (
    seq          INTEGER PRIMARY KEY,     -- 1, 2, 3, ...: a gap is a deletion
    at           REAL NOT NULL,           -- seconds since the epoch, UTC
    kind         TEXT NOT NULL,
    tool         TEXT,
    effect       TEXT,
    user_id      TEXT,
    intent_id    TEXT,
    verdict      TEXT,
    code         TEXT,
    decided_by   TEXT,
    sink         TEXT,
    card_id      TEXT,
    amount_cents INTEGER,
    policy       TEXT NOT NULL,
    mac          BLOB NOT NULL            -- HMAC-SHA-256 over the mac before it and this row
) STRICT;
CREATE INDEX audit_by_time ON audit (at);

CREATE TABLE passphrase_tries (
    at REAL NOT NULL                      -- a wrong try; five within 15 minutes lock
) STRICT;
