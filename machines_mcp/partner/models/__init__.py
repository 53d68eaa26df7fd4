"""What the API says and is told, a module per noun."""
