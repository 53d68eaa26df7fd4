"""What protects: the policy, the intents a person decides, the store, and the last look at what leaves."""
