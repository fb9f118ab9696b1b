"""The only place that touches private bytes: generate, seal, open, sign."""
