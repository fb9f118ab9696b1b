"""Generate, seal, open and sign: the only package that touches private bytes."""
