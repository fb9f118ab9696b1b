"""
Which change of a vault is legal: the second opinion of the audit.

It shares the formats with what writes vaults, and no rule: it has its own reading of the life of a key and of the
timing rule, so that a mistake on one side is seen from the other. Values in, findings out; no I/O and no clock.

========== ================================================================================================
`findings` every code, and the finding that carries it
`derived_state` what a list of events adds up to, and where it cannot be
`versions` one version of a file by itself: form, profile, strength, envelope
`ledger`   the files of a vault as one commit holds them
`rules`    a commit against its parents: what may grow, what must stay, what was due
========== ================================================================================================

Source: docs/audit.md explains every code; docs/lifecycle.md has the rules.
"""
