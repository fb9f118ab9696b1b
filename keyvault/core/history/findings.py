"""
The findings of an audit: a code, the commit and the file, and a sentence.

Source: docs/audit.md explains every code, its cause and its remedy.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Level = Literal["error", "note"]

#: Codes of errors, in the order of docs/audit.md.
ERRORS = (
    # files
    "unexpected-path",
    "unexpected-mode",
    "unsafe-path",
    "private-in-clear",
    "identity-malformed",
    # keyvault.toml and the recipients
    "policy-missing",
    "policy-malformed",
    "vault-begun-twice",
    "recipients-missing",
    "recipients-malformed",
    "recipient-weak",
    # a record by itself
    "record-malformed",
    "record-not-canonical",
    "record-too-large",
    "record-misplaced",
    "public-profile",
    "key-weak",
    "kid-mismatch",
    "envelope-malformed",
    "envelope-recipients",
    # a record against its earlier versions
    "record-removed",
    "event-removed",
    "event-changed",
    "public-changed",
    "kid-reused",
    "key-reused",
    "private-missing",
    "private-removed",
    "private-added",
    "private-kept",
    "resealed",
    # events
    "event-malformed",
    "event-order",
    "instant-decreases",
    "instant-before-set",
    "instant-future",
    "instant-backdated",
    # sets
    "two-active",
    "two-next",
    "active-missing",
    "next-missing",
    "set-orphaned",
    "algorithm-differs",
    # timing
    "activated-unseen",
    "activated-early",
    "receipt-url",
    "receipt-too-soon",
    "withdrawn-early",
    "kept-too-short",
    "token-lifetime",
    # history and signatures
    "pin-missing",
    "signers-missing",
    "unsigned",
    "signature-bad",
    "signature-expired",
    "signature-unchecked",
    "signer-unknown",
)

#: Codes of changes that are legal but worth a look.
NOTES = ("forced", "policy-loosened", "recipients-changed", "not-resealed", "repaired", "mended")

#: Errors about the form of a file, which no longer matter once the file is restored.
MENDED_BY_RESTORING = frozenset({
    "unexpected-path", "unexpected-mode", "policy-malformed", "recipients-malformed",
    "record-malformed", "record-not-canonical", "record-too-large", "record-misplaced", "record-removed",
    "recipients-missing", "policy-missing",
})  # fmt: skip

#: Errors that a repair event mends: a set with two active or two next keys, and events with an instant in the future
#: or before the newest event of their set.
MENDED_BY_REPAIR = frozenset({"two-active", "two-next", "instant-future", "instant-before-set"})

#: Errors of a merge that took one side's version of a record, mended by a repair that restores the other's promises.
MENDED_BY_TAKING_BACK = frozenset({"event-changed", "event-removed"})

#: Errors about a set that lacks a key because a record is damaged.
MENDED_WITH_A_RECORD = frozenset({"active-missing", "next-missing"})

MENDABLE = (
    MENDED_BY_RESTORING
    | MENDED_BY_REPAIR
    | MENDED_BY_TAKING_BACK
    | MENDED_WITH_A_RECORD
    | {"private-removed", "private-added", "kid-reused", "key-reused", "set-orphaned"}
)


class Finding(msgspec.Struct, frozen=True):
    """
    A finding of the audit.

    Attributes:
        code: One of `ERRORS` or `NOTES`.
        message: The problem in one line, lower case, no full stop, no key material.
        path: The file of the vault, or empty; of a private key in the clear, the path from the top of the repository.
        commit: The commit that introduced it, or empty while it is not known.
    """

    code: str
    message: str
    path: str = ""
    commit: str = ""

    @property
    def level(self) -> Level:
        return "note" if self.code in NOTES else "error"
