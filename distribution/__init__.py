"""Build the other ways to run the server: the registry's entry, the bundle for desktop clients, the image.

`python -m distribution` updates `server.json` and `manifest.json`;
`python -m distribution.bundle` packs the bundle.
"""
