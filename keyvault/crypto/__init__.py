"""Generate, import, seal, open, sign and export: other packages pass private bytes on, or search for leaked keys."""
