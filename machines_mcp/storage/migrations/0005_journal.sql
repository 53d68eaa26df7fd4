-- Every change that is asked of the API, written before its first byte is sent.
-- The body is kept only where it can hold no identity data; of all others there is a keyed hash.
CREATE TABLE mutations (
    id              TEXT PRIMARY KEY,
    intent_id       TEXT,                  -- none for what nobody is asked about
    tool            TEXT NOT NULL,
    user_id         TEXT NOT NULL,
    operation       TEXT NOT NULL,         -- method and path template
    idempotency_key TEXT UNIQUE,
    body_hash       TEXT NOT NULL,
    body            TEXT,                  -- JSON
    ids             TEXT NOT NULL,         -- JSON: the ids in the path, by name
    attempts        INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('pending', 'done', 'rejected', 'unknown', 'unsent', 'manual')),
    reference       TEXT,                  -- the id of what was made
    status          INTEGER,               -- the HTTP status of the last answer
    owner           TEXT NOT NULL,         -- the process that sends it
    created_at      REAL NOT NULL,         -- seconds since the epoch, UTC
    sent_at         REAL NOT NULL,         -- the first attempt that may have arrived
    last_sent_at    REAL NOT NULL,
    ended_at        REAL,
    settled_by      TEXT,                  -- who closed it, where its answer did not
    note            TEXT                   -- why a person must look
) STRICT;
CREATE INDEX mutations_by_intent ON mutations (intent_id);
CREATE INDEX mutations_open ON mutations (state) WHERE state IN ('pending', 'unknown', 'manual');

-- The process that took the grant; '' once it gave up, NULL before there was a journal.
ALTER TABLE intents ADD COLUMN owner TEXT;
