"""The use cases: they use core, crypto, repo, site and publish together, and print nothing."""
