"""What is learnt from the data before an index is laid out: clusters, rotations, codebooks."""
