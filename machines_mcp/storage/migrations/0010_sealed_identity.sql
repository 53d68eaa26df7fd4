-- The masked identity data that an approver is shown, encrypted (AES-256-GCM, a key for this alone). NULL once decided.
ALTER TABLE approvals ADD COLUMN sealed BLOB;
