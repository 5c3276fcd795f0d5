"""How well lips and speech fit, how similar a mouth is to the true one; for videos, and for generators on held-out clips."""
