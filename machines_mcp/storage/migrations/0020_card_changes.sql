-- What the journal knows of cards: whether a lock changed anything, which approval undid it, and which labels were sent.
ALTER TABLE mutations ADD COLUMN before_status TEXT;  -- the card's status before the change, if it could be read
ALTER TABLE mutations ADD COLUMN undone_by TEXT;      -- the approval that undid the change
CREATE INDEX mutations_by_label
    ON mutations (user_id, CASE WHEN json_valid(body) THEN json_extract(body, '$.encryptedName.ct') END)
    WHERE operation IN ('POST /cards', 'PATCH /cards/{cardId}');
CREATE INDEX mutations_of_cards ON mutations (created_at) WHERE operation = 'PATCH /cards/{cardId}';
