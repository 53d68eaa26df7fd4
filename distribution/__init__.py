"""What other ways of running the server are made of: the registry's entry, the bundle for desktop clients, the image.

`python -m distribution` writes `server.json` and `manifest.json` anew;
`python -m distribution.bundle` packs the bundle.
"""
