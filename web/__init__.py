"""The page: what the scripts do, in a browser. Nothing else in the project knows of it."""
