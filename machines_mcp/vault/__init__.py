"""The only code that ever holds a card number or CVC: a separate process, one per reveal.

`client` is the server's side and `worker` the vault's. `request` defines all that the server passes to the vault.
"""
