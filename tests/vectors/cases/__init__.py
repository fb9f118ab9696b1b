"""The contents of the vector files, one module for each file."""
