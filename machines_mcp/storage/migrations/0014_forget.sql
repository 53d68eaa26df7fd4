-- Audit rows whose user was forgotten: they name pseudonyms and keep their MACs. The seal covers what they say now.
CREATE TABLE audit_forgotten (
    seq  INTEGER PRIMARY KEY,            -- the row's number
    seal BLOB NOT NULL                   -- HMAC-SHA-256 over the MAC before the row, its MAC, and the row
) STRICT;
