"""The clients that can start this server: where each keeps its config, and how our entry gets in and out of it."""
