"""What every other package builds on: errors, settings and flags, devices, processes, files, progress, pictures."""
