"""Build the other ways to run the server: the registry's entry, the bundle for desktop clients, the plugin, the image.

`python -m distribution` updates `server.json`, `manifest.json` and the plugin;
`python -m distribution.bundle` packs the bundle.
"""
