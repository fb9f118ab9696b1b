"""The properties of a vault to create, and its keyvault.toml."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keyvault.core.algorithms import KeySpec, key_spec
from keyvault.core.keys import Recipient
from keyvault.core.places import check_issuer, check_url
from keyvault.core.policy import check_set_name
from keyvault.core.text import printable, quoted
from keyvault.errors import ConfigError, UsageError

DEFAULT_SETS = (("id-token", "RS256"), ("access-token", "ES256"))

TITLE_MAX = 200


@dataclass(frozen=True)
class NewVault:
    """
    The properties of a vault to create.

    Attributes:
        url: The URL of its site.
        sets: Its sets, by name.
        title: The headline of the site.
        recipients: The recipients of its keys; if empty, an identity is generated.
        passphrase: Encrypts that identity, which is then committed to the vault; None keeps it outside.
        confirm: ``live`` or ``commit``.
        issuer: The value of ``iss``, if it is not *url*.
        branch: The first branch of a new repository.
        ci: Files of CI, by path from the top of the repository; existing files are kept.
    """

    url: str
    sets: Mapping[str, KeySpec]
    title: str | None = None
    recipients: Sequence[Recipient] = ()
    passphrase: str | None = field(default=None, repr=False)
    confirm: str = "live"
    issuer: str | None = None
    branch: str = "main"
    ci: Mapping[str, bytes] = field(default_factory=dict)


def parse_sets(texts: Sequence[str]) -> dict[str, KeySpec]:
    """
    Return the sets that ``NAME:ALG`` or ``NAME:ALG:FORM`` arguments name, or the two default sets.

    Raises:
        UsageError: If a name or an algorithm is invalid, or a name is repeated.
    """
    sets: dict[str, KeySpec] = {}
    for text in texts or [f"{name}:{alg}" for name, alg in DEFAULT_SETS]:
        name, colon, rest = text.partition(":")
        alg, _, kid = rest.partition(":")
        if not colon:
            raise UsageError(
                f"--set {quoted(text, 100)} is not NAME:ALG", code="option-invalid", hint="--set id-token:RS256"
            )
        if name in sets:
            raise UsageError(f"--set names {name} twice", code="set-exists")
        try:
            sets[check_set_name(name)] = key_spec(alg, kid_form=kid or None)
        except ConfigError as error:
            raise UsageError(error.message, code=error.code, hint=error.hint) from None
    return sets


def policy_text(new: NewVault) -> bytes:
    """
    Return the keyvault.toml of a new vault, with comments.

    Raises:
        UsageError: If the url, the issuer or the title is invalid.
    """
    try:
        url = check_url(new.url)
    except ValueError as error:
        raise UsageError(f"--url: {error}", code="url-invalid") from None
    try:
        issuer = None if new.issuer is None else check_issuer(new.issuer)
    except ValueError as error:
        raise UsageError(f"--issuer: {error}", code="issuer-invalid") from None
    title = new.title
    if title is not None and (not title.strip() or len(title) > TITLE_MAX or printable(title) != title):
        raise UsageError(f"--title must be one line of 1 to {TITLE_MAX} printable characters", code="text-invalid")
    lines = [
        "format = 1",
        "",
        "[site]",
        f'url = "{url}"                # where the rendered site is served'
        + ("; the default issuer" if issuer is None else ""),
        *([] if issuer is None else [f"issuer = {_toml(issuer)}    # what stands in iss, byte for byte"]),
        f"title = {_toml(title or 'Published keys')}",
        'max_age = "10m"               # what the host sends as Cache-Control for JWK Sets',
        f'confirm = "{new.confirm}"              # "live": a key may sign only after the URL above was seen serving it',
        "discovery = true              # render openid-configuration",
        "",
        "[defaults]",
        'cryptoperiod = "90d"          # how long a key signs',
        'publication_lead = "24h"      # how long a key must have been seen live before it may sign',
        'algorithm_lead = "7d"         # the same for a key of a new algorithm: some verifiers must be restarted first',
        'token_lifetime = "1h"         # the longest exp - iat of your tokens',
        'signer_lag = "1h"             # how long a signer may go on using the old key',
        'clock_skew = "10m"',
    ]
    for name, spec in new.sets.items():
        default = key_spec(spec.alg)
        lines += ["", f"[sets.{_toml_key(name)}]", f'alg = "{spec.alg}"']
        lines += [f'crv = "{spec.crv}"'] if spec.crv != default.crv else []
        lines += [f"bits = {spec.bits}"] if spec.bits != default.bits else []
        lines += [f'kid = "{spec.kid_form}"'] if spec.kid_form != default.kid_form else []
    return ("\n".join(lines) + "\n").encode()


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
