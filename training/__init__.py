"""Training of the lip-sync expert and of the generator: loop, networks under training, run directory, logs, losses."""
