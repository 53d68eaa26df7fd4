-- The users who exist at Machines: a call that changes something succeeded for them. Reads act for no others, unless the
-- operator named them. In the audit log, an id that begins with ~ is a fingerprint.
CREATE TABLE known_users (
    user_id  TEXT PRIMARY KEY,
    since    REAL NOT NULL              -- seconds since the epoch, UTC
) STRICT;
INSERT INTO known_users (user_id, since)
    SELECT user_id, min(at) FROM (
        SELECT user_id, created_at AS at FROM mutations WHERE state = 'done' AND user_id <> ''
        UNION ALL
        SELECT user_id, at FROM audit WHERE kind = 'outcome' AND code = 'ok' AND user_id IS NOT NULL
            AND user_id NOT LIKE '~%' AND typeof(user_id) = 'text'
    ) GROUP BY user_id;
