-- The transaction of each signed withdrawal. The admin's salt is made once for a nonce, so that a repeated call gives the
-- same typed data. Nothing here is secret.
CREATE TABLE transactions (
    withdrawal_id   TEXT PRIMARY KEY REFERENCES withdrawals (id) ON DELETE CASCADE,
    user_id         TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('signed', 'sent', 'done')),
    expires_at      REAL NOT NULL,      -- epoch seconds
    sender          TEXT,               -- the account that signs and sends
    nonce           TEXT,               -- decimal digits: it can have 256 bits
    salt            TEXT,               -- hex
    admin_signature TEXT,               -- hex
    hash            TEXT,               -- of the transaction; on Solana its signature
    block           INTEGER,
    updated_at      REAL NOT NULL
) STRICT;
CREATE INDEX transactions_open ON transactions (expires_at) WHERE state <> 'done';
