-- A call finds the rows it needs without reading others, however many there are.
CREATE INDEX withdrawals_open ON withdrawals (created_at) WHERE status IN ('requested', 'pending', 'unknown');
CREATE INDEX withdrawals_by_user ON withdrawals (user_id);
CREATE INDEX withdrawals_by_quote ON withdrawals (quote_id);
CREATE INDEX known_users_by_time ON known_users (since DESC, user_id);
CREATE INDEX mutations_by_user ON mutations (user_id, operation);

DROP INDEX approvals_by_tool;
CREATE INDEX approvals_by_user ON approvals (user_id, state, expires_at);
CREATE INDEX approvals_of_user ON approvals (user_id, created_at);
CREATE INDEX approvals_refused ON approvals (user_id, tool, decided_at) WHERE state = 'refused';
CREATE INDEX approvals_reveals ON approvals (card_id, started_at) WHERE action_class = 'reveal';
CREATE INDEX approvals_sealed ON approvals (expires_at) WHERE sealed IS NOT NULL;

-- Few of the audit rows are of calls that began to change something or to show a card.
CREATE INDEX audit_executing ON audit (at) WHERE verdict = 'executing';
CREATE INDEX audit_executing_by_user ON audit (coalesce(user_id, ''), at) WHERE verdict = 'executing';
CREATE INDEX audit_verifications ON audit (card_id, at) WHERE verdict = 'executing' AND sink = 'none';
-- All rows except those of reads that were answered.
CREATE INDEX audit_changes ON audit (seq)
    WHERE kind <> 'call' OR action_class IS NOT 'read' OR verdict IS NOT NULL OR substr(code, 1, 7) = 'policy.';
