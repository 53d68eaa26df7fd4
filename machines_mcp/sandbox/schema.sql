-- Times are unix seconds by the sandbox's clock, money is integer US cents. Future events (a deposit that completes, a
-- charge that posts) are rows with their time; reads compare it with the clock, and nothing runs in the background.
-- Executed at every start, so that older files gain new tables and indexes.

CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE IF NOT EXISTS users (
    user_id TEXT PRIMARY KEY,
    created_at REAL NOT NULL,
    wallet_chain TEXT,
    wallet_address TEXT,
    kyc_status TEXT NOT NULL DEFAULT 'not_submitted',
    kyc_reason TEXT,
    kyc_page TEXT UNIQUE,                -- the unguessable part of the hosted page's address
    agreements_at REAL,
    data_key BLOB NOT NULL               -- encrypted
) STRICT;
CREATE INDEX IF NOT EXISTS users_by_age ON users (created_at, user_id);

CREATE TABLE IF NOT EXISTS sessions (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    scopes TEXT NOT NULL,                -- separated by spaces
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS cards (
    card_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    position INTEGER NOT NULL,           -- 0, 1, 2 ... per user
    created_at REAL NOT NULL,
    status TEXT NOT NULL,
    deleted_at REAL,
    last4 TEXT NOT NULL,
    expiration_month INTEGER NOT NULL,
    expiration_year INTEGER NOT NULL,
    number_and_cvc BLOB NOT NULL,        -- encrypted
    limit_cents INTEGER,
    limit_frequency TEXT,
    labels TEXT NOT NULL                 -- JSON: encryptedName etc., as sent by the partner
) STRICT;
CREATE INDEX IF NOT EXISTS cards_of_user ON cards (user_id, position);

CREATE TABLE IF NOT EXISTS deposits (
    deposit_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    created_at REAL NOT NULL,
    completes_at REAL NOT NULL,
    currency TEXT NOT NULL,
    network TEXT NOT NULL,
    address TEXT NOT NULL,
    extra_id TEXT,
    exchange_id TEXT,                    -- NULL if no exchange is needed
    entry_id TEXT NOT NULL REFERENCES entries
) STRICT;
CREATE INDEX IF NOT EXISTS deposits_of_user ON deposits (user_id, created_at);
CREATE INDEX IF NOT EXISTS deposits_by_completion ON deposits (completes_at);

CREATE TABLE IF NOT EXISTS withdrawals (
    withdrawal_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    fingerprint TEXT NOT NULL,           -- hash of the request's body
    created_at REAL NOT NULL,
    amount_cents INTEGER NOT NULL,
    held_until REAL NOT NULL,            -- the amount is held until then; 0 once executed
    answer TEXT                          -- JSON of the ready response, NULL while pending
) STRICT;
CREATE INDEX IF NOT EXISTS withdrawals_of_user ON withdrawals (user_id, held_until);

CREATE INDEX IF NOT EXISTS withdrawals_by_age ON withdrawals (user_id, created_at);

-- Where each withdrawal goes. Withdrawals of older files have no row.
CREATE TABLE IF NOT EXISTS destinations (
    withdrawal_id TEXT PRIMARY KEY REFERENCES withdrawals,
    currency TEXT NOT NULL,
    network TEXT NOT NULL,
    address TEXT NOT NULL
) STRICT;

-- With a chain: what a signature was made for, beyond the response.
CREATE TABLE IF NOT EXISTS chain_signatures (
    withdrawal_id TEXT PRIMARY KEY REFERENCES withdrawals,
    admin TEXT NOT NULL,                 -- the sender, in lower case
    salt BLOB NOT NULL
) STRICT;

-- With a chain: how many transactions an account has sent. Wallets count, too, so a reset keeps these.
CREATE TABLE IF NOT EXISTS chain_accounts (
    chain_id INTEGER NOT NULL,
    address TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    PRIMARY KEY (chain_id, address)
) STRICT;

-- With a chain: who can send a user's withdrawals, in lower case.
CREATE TABLE IF NOT EXISTS chain_admins (
    user_id TEXT NOT NULL REFERENCES users,
    address TEXT NOT NULL,
    PRIMARY KEY (user_id, address)
) STRICT;

-- The ledger: collateral (negative if withdrawn) and the charges against it.
CREATE TABLE IF NOT EXISTS entries (
    entry_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    type TEXT NOT NULL,
    amount_cents INTEGER NOT NULL,
    created_at REAL NOT NULL,            -- can be in the future; hidden until then
    posts_at REAL NOT NULL,              -- pending until then, posted afterwards; never before created_at
    declined INTEGER NOT NULL DEFAULT 0,
    card_id TEXT,
    merchant_name TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS entries_of_user ON entries (user_id, created_at, entry_id);
CREATE INDEX IF NOT EXISTS entries_of_type ON entries (user_id, type, created_at, entry_id);
CREATE INDEX IF NOT EXISTS entries_of_card ON entries (user_id, card_id, type, created_at, entry_id);
CREATE INDEX IF NOT EXISTS entries_by_posting ON entries (user_id, posts_at);

-- Sums of the user's entries that had posted by `settled_at`. A missing row is computed again.
CREATE TABLE IF NOT EXISTS totals (
    user_id TEXT PRIMARY KEY REFERENCES users,
    settled_at REAL NOT NULL,
    collateral INTEGER NOT NULL,
    charges INTEGER NOT NULL
) STRICT;
-- An entry written or changed at or before that time invalidates the totals.
CREATE TRIGGER IF NOT EXISTS entry_written AFTER INSERT ON entries BEGIN
    DELETE FROM totals WHERE user_id = NEW.user_id AND settled_at >= NEW.posts_at;
END;
CREATE TRIGGER IF NOT EXISTS entry_changed AFTER UPDATE ON entries BEGIN
    DELETE FROM totals WHERE user_id = NEW.user_id AND settled_at >= min(OLD.posts_at, NEW.posts_at);
END;

CREATE TABLE IF NOT EXISTS secrets_sessions (
    session_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    secret_key BLOB NOT NULL,            -- encrypted
    expires_at REAL NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS idempotency (
    user_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL,                -- JSON; for a withdrawal, its id
    PRIMARY KEY (user_id, operation, request_key)
) STRICT;
