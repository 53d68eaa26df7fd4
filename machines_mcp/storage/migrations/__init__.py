"""The database's migrations, and names that state folders have kept from earlier versions."""
