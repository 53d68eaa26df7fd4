-- What limits read at each intent: the sums of a day, the newest of all times.
CREATE INDEX intents_by_creation ON intents (created_at);
CREATE INDEX intents_by_begin ON intents (began_at);
