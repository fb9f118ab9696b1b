"""
Which changes of a vault are legal: the second opinion of the audit.

It shares formats, policy and the checks of single keys with the modules that write vaults, but implements the
lifecycle of a key and the timing rule a second time, so that a mistake on one side shows on the other. Values in,
findings out; no I/O, no clock.

=============== ====================================================================================
`findings`      every code, and the finding that carries it
`derived_state` the state that follows from a list of events, and the problems of the list
`versions`      one version of a file by itself: form, profile, strength, envelope
`ledger`        the files of a vault at one commit
`rules`         a commit against its parents: which parts may grow, must stay, or were due
=============== ====================================================================================

Source: docs/audit.md explains every code; docs/lifecycle.md has the rules.
"""
