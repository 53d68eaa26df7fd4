-- When an intent was last taken for execution: one that never came to its end is told by its age.
ALTER TABLE intents ADD COLUMN began_at REAL;
