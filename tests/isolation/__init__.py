"""Two users of one partner: what a server for one of them says, limits and creates for the other."""
