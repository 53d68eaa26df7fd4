"""The only code that ever holds a card number or its code: a process of its own, one per reveal.

`process` is the side of the server, `child` the side of the vault; `request` is all that passes between them.
"""
