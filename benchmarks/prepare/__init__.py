"""Scripts that make the data sets shipped with the package; not needed to use them."""
