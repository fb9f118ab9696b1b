"""Text in a record stays there forever, so it must not prevent the site from being rendered."""

from __future__ import annotations

import base64
import html
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyvault.core.events import TEXT_MAX
from keyvault.core.leaks import find_private
from keyvault.errors import LeakError, UsageError
from keyvault.operations import rotation
from keyvault.operations.rotation import check_text
from keyvault.site.leak_check import refuse_private
from tests.errors import fails
from tests.revisions import audit
from tests.site.vaults import Lab

SECRET = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"
PEM = f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\n"

#: Texts that one of the checks takes for a key, and others do not.
DISPUTED = (
    f"rotated since d: {SECRET} was mailed",
    f"it said k = '{SECRET}'",
    f"leaked as {base64.b64encode(PEM.encode()).decode()}",
    f"leaked as {base64.b64encode(json.dumps({'kty': 'oct', 'k': SECRET}).encode()).decode()}",
    f'the "k": "{SECRET[:16]}" in the log',
    "-----BEGIN OPENSSH KEY----- in a ticket",
    "openssh-key-v1 in a ticket",
    f"age-secret-key-1{SECRET.lower().replace('_', '')}{'q' * 20}",
    '{"d": 1}',
    '["x", {"priv": null}]',
)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY----- MIIE",
        'it was {"kty":"EC","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}',
        "AGE-SECRET-KEY-1QQPQZ",
        *DISPUTED,
    ],
)
def test_a_private_key_is_no_reason(vault: Lab, text: str) -> None:
    """A command refuses a key that was pasted into a note or a reason, and writes nothing."""
    head = vault.head
    with fails("private-key-in-text", UsageError) as caught:
        rotation.rotate(vault.context(), ["id-token"], forced=text)
    assert text not in caught.value.message
    with fails("private-key-in-text", UsageError) as caught:
        rotation.revoke(vault.context(), vault.key("id-token", "active").kid, reason="compromised", note=text)
    assert caught.value.message.startswith("--note ")
    assert head == vault.head


#: The parts of notes that look like keys.
PARTS = st.sampled_from(
    [
        *DISPUTED, SECRET, SECRET[:22], SECRET[:16], SECRET[:15], PEM.replace("\n", ""), '"kty":"EC"', "kty=RSA",
        "d", "k", "priv", '"d":"', '"k" : "', "d: ", "dq=", "p => ", '"', "'", "{", "}", "[", ",", "\\\\", " ", "=", "e",
        "-----BEGIN ", "PUBLIC KEY-----", "CERTIFICATE-----", "PRIVATE KEY-----", "AGE-SECRET-KEY-1", "&#34;", "\\u0022",
    ]
)  # fmt: skip


@settings(max_examples=1_500)
@given(st.lists(PARTS, min_size=1, max_size=8).map("".join).filter(lambda text: len(text.strip()) <= TEXT_MAX))
def test_accepted_notes_pass_all_later_checks(note: str) -> None:
    """Audit and guard find no key in the record and history.json of any accepted note; pages pass the leak check."""
    try:
        accepted = check_text(note, "--note")
    except UsageError:
        return
    if accepted is None:
        return
    record = json.dumps({"public": {"kty": "EC", "kid": "a", "x": SECRET}, "events": [{"note": accepted}]}, indent=2)
    assert find_private(record.encode()) is None
    for path, text in {
        "history.json": record,
        "keys/a/index.html": f"<h1>EC</h1><p>{html.escape(accepted)}</p>",
        "feed.atom": f"<summary>{html.escape(accepted)}</summary>",
        "plan.ics": f"SUMMARY:{accepted}",
    }.items():
        try:
            refuse_private(path, text.encode())
        except LeakError as error:
            raise AssertionError(f"{path} refuses {accepted!r}: {error.message}") from None


@pytest.mark.parametrize("note", ["the laptop of Ada, s/n d: 12", "kid " + SECRET + " leaked", "d, p and q are safe"])
def test_an_ordinary_note_reaches_the_site(vault: Lab, note: str) -> None:
    """The command and the audit accept it, and the site shows it."""
    rotation.rotate(vault.context(), ["id-token"], forced=note)
    assert audit(vault.context()).errors == ()
    assert note in vault.site()["history.json"].decode()
