-- Approvals were called intents, their details stakes. The audit's MACs keep the old column names: stored_names.py.
ALTER TABLE intents RENAME TO approvals;
ALTER TABLE approvals RENAME COLUMN effect TO action_class;
ALTER TABLE approvals RENAME COLUMN stakes TO details;
ALTER TABLE approvals RENAME COLUMN began_at TO started_at;
UPDATE approvals SET details = json_remove(json_set(details, '$.items', json_extract(details, '$.facts')), '$.facts')
    WHERE json_valid(details) AND json_type(details, '$.facts') IS NOT NULL;
DROP INDEX intents_waiting;
DROP INDEX intents_by_tool;
DROP INDEX intents_by_creation;
DROP INDEX intents_by_begin;
CREATE INDEX approvals_waiting ON approvals (state, expires_at);
CREATE INDEX approvals_by_tool ON approvals (tool, created_at);
CREATE INDEX approvals_by_creation ON approvals (created_at);
CREATE INDEX approvals_by_start ON approvals (started_at);

ALTER TABLE mutations RENAME COLUMN intent_id TO approval_id;
DROP INDEX mutations_by_intent;
CREATE INDEX mutations_by_approval ON mutations (approval_id);
ALTER TABLE withdrawals RENAME COLUMN intent_id TO approval_id;
DROP INDEX withdrawals_by_intent;
CREATE INDEX withdrawals_by_approval ON withdrawals (approval_id);

ALTER TABLE audit RENAME COLUMN effect TO action_class;
ALTER TABLE audit RENAME COLUMN intent_id TO approval_id;
