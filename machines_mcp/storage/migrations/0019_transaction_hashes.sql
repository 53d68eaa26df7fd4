-- A transaction pays one withdrawal, so before one is done its hash is looked for.
CREATE INDEX transactions_done ON transactions (hash) WHERE state = 'done';
