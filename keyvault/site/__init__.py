"""Render a commit to bytes. No I/O and no clock: the same commit gives the same site on every machine."""
