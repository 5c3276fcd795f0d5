"""A page in the browser for what the scripts do: dub, check, score, train, weights."""
