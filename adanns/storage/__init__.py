"""Files and memory maps of an index's named arrays."""
