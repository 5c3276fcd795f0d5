"""How well lips and speech fit, how similar a mouth is to the true one: videos, and generators on held-out clips."""
