-- The intent that a withdrawal is for; none in rows from before.
ALTER TABLE withdrawals ADD COLUMN intent_id TEXT;
CREATE INDEX withdrawals_by_intent ON withdrawals (intent_id);
