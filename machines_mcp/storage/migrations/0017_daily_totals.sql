-- What was paid out on each UTC day, so that a limit reads one number. The triggers follow each change of an approval in
-- its own transaction. A call counts for the day on which it began, unless it is known to have failed.
CREATE TABLE daily_totals (
    day   INTEGER PRIMARY KEY,           -- days since the epoch, UTC
    cents INTEGER NOT NULL
) STRICT;
CREATE TABLE user_daily_totals (
    user_id TEXT NOT NULL,
    day     INTEGER NOT NULL,
    cents   INTEGER NOT NULL,
    PRIMARY KEY (user_id, day)
) STRICT, WITHOUT ROWID;

CREATE VIEW payouts AS
    SELECT id, user_id, CAST(started_at / 86400 AS INTEGER) AS day, amount_cents AS cents FROM approvals
    WHERE amount_cents IS NOT NULL AND started_at IS NOT NULL
    AND (state IN ('executing', 'done') OR (state = 'failed' AND coalesce(
        CASE WHEN json_valid(outcome) THEN json_extract(outcome, '$.code') END, 'outcome.unknown'
    ) IN ('outcome.unknown', 'output.blocked')));

INSERT INTO daily_totals SELECT day, sum(cents) FROM payouts GROUP BY day;
INSERT INTO user_daily_totals SELECT user_id, day, sum(cents) FROM payouts GROUP BY user_id, day;

CREATE TRIGGER payout_made AFTER INSERT ON approvals WHEN new.amount_cents IS NOT NULL BEGIN
    INSERT INTO daily_totals SELECT day, cents FROM payouts WHERE id = new.id
        ON CONFLICT DO UPDATE SET cents = cents + excluded.cents;
    INSERT INTO user_daily_totals SELECT user_id, day, cents FROM payouts WHERE id = new.id
        ON CONFLICT DO UPDATE SET cents = cents + excluded.cents;
END;

CREATE TRIGGER payout_replaced BEFORE UPDATE ON approvals WHEN old.amount_cents IS NOT NULL BEGIN
    UPDATE daily_totals SET cents = cents - old.amount_cents
        WHERE day = (SELECT day FROM payouts WHERE id = old.id);
    UPDATE user_daily_totals SET cents = cents - old.amount_cents
        WHERE user_id = old.user_id AND day = (SELECT day FROM payouts WHERE id = old.id);
    DELETE FROM user_daily_totals WHERE user_id = old.user_id AND cents = 0
        AND day = (SELECT day FROM payouts WHERE id = old.id);
END;

CREATE TRIGGER payout_changed AFTER UPDATE ON approvals WHEN new.amount_cents IS NOT NULL BEGIN
    INSERT INTO daily_totals SELECT day, cents FROM payouts WHERE id = new.id
        ON CONFLICT DO UPDATE SET cents = cents + excluded.cents;
    INSERT INTO user_daily_totals SELECT user_id, day, cents FROM payouts WHERE id = new.id
        ON CONFLICT DO UPDATE SET cents = cents + excluded.cents;
END;

CREATE TRIGGER payout_deleted BEFORE DELETE ON approvals WHEN old.amount_cents IS NOT NULL BEGIN
    UPDATE daily_totals SET cents = cents - old.amount_cents
        WHERE day = (SELECT day FROM payouts WHERE id = old.id);
    UPDATE user_daily_totals SET cents = cents - old.amount_cents
        WHERE user_id = old.user_id AND day = (SELECT day FROM payouts WHERE id = old.id);
    DELETE FROM user_daily_totals WHERE user_id = old.user_id AND cents = 0
        AND day = (SELECT day FROM payouts WHERE id = old.id);
END;
