"""The composition root: settings, the app, and the processes it starts."""
