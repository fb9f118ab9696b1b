"""The only place that opens a socket; writes rendered sites to where they are served from."""
