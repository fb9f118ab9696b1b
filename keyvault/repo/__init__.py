"""Read the vault at a commit, write changes as one commit, push, and judge the history; starts every git process."""
