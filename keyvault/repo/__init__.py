"""The only package that uses git: read the state of a commit, write a plan as one commit, push, and judge history."""
