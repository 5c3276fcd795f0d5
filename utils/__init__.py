"""What every other package builds on: errors, options and flags, devices, processes, files, small HTML pages."""
