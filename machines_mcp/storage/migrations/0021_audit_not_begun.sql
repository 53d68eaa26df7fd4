-- The calls that were admitted and ended before they sent anything.
CREATE INDEX audit_not_begun ON audit (coalesce(user_id, ''), at) WHERE verdict = 'not_begun';
