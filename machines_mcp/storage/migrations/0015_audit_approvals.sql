-- The desk shows the rows of an approval as one call.
CREATE INDEX audit_by_approval ON audit (approval_id) WHERE approval_id IS NOT NULL;
