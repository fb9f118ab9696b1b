"""The only place that knows git: state of a commit, a plan as one commit, push, history."""
