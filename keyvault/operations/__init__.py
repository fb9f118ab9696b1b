"""Use cases: read a commit, plan, seal, commit, push. Join the rooms below; print nothing."""
