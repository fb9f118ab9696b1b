"""The commands set, and those of key that only read."""

from typing import TYPE_CHECKING, Annotated

import typer

from keyvault.cli import export_keys, generate_keys, import_keys
from keyvault.cli.dash_arguments import DashArgumentCommand
from keyvault.cli.global_options import settings
from keyvault.cli.lazy_commands import LazyTyper
from keyvault.cli.options import JSON, DryRun, KidPrefix, Push, Reason, check_reason_with_force, complete_set
from keyvault.cli.output import columns, emit_bytes, emit_json, say
from keyvault.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from keyvault.core.algorithms import KeySpec

sets = LazyTyper(help="Sets: named series of keys, each for one purpose.", no_args_is_help=True, rich_markup_mode=None)
keys = LazyTyper(help="Keys: list, show, generate, import, export.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the commands to *app*."""
    app.add_typer(sets, name="set")
    app.add_typer(keys, name="key")
    generate_keys.register(keys)
    export_keys.register(keys)
    import_keys.register(app, keys)


def _spec(alg: str, crv: str | None, bits: int | None, kid: str | None = None) -> "KeySpec":
    from keyvault.core.algorithms import key_spec

    try:
        return key_spec(alg, crv=crv, bits=bits, kid_form=kid)
    except ConfigError as error:
        raise UsageError(error.message, code=error.code, hint=error.hint) from None


@sets.command("list")
def list_sets(as_json: JSON = False) -> None:
    """
    List the sets.

    \b
    Examples:
      keyvault set list
    """
    from datetime import timedelta

    from keyvault.operations.reports import status_report

    with settings.open() as context:
        report = status_report(context.state(envelopes=False), settings.now, grace=timedelta(0))
    if as_json:
        emit_json(report.sets)
    elif settings.quiet:
        for key_set in report.sets:
            say(key_set.name)
    else:
        columns(
            [
                [key_set.name, key_set.alg, f"{len(key_set.keys)} keys", key_set.jwks_uri or "not rendered"]
                for key_set in report.sets
            ]
        )


@sets.command("add")
def add_set(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the new set.")],
    alg: Annotated[str, typer.Option("--alg", metavar="ALG", help="JOSE algorithm, such as ES256 or RS256.")] = "ES256",
    crv: Annotated[
        str | None, typer.Option("--crv", metavar="CRV", help="Curve, if the algorithm supports several.")
    ] = None,
    bits: Annotated[int | None, typer.Option("--bits", metavar="N", help="Bits of an RSA modulus or a secret.")] = None,
    issuer: Annotated[
        str | None,
        typer.Option("--issuer", metavar="ISS", help="Claim iss of its tokens; default is the site's issuer."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="PATH", help="Folder of its JWK Set on the site; default is the issuer's path."),
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Private keys live elsewhere: only public halves are imported.")
    ] = False,
    kid: Annotated[
        str | None, typer.Option("--kid", metavar="FORM", help="Form of its kids: thumbprint, or spki for Kubernetes.")
    ] = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Add a set to keyvault.toml, with an active and a next key, in one commit.

    \b
    Examples:
      keyvault set add reports --alg PS256 --bits 3072
      keyvault set add hydra.openid.id-token --alg RS256
      keyvault set add cluster --alg RS256 --kid spki
      keyvault set add acme --alg Ed25519 --issuer acme-client-id --at /clients/acme
      keyvault set add tenant --issuer https://tenant.example.com/ --at /tenant
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import keys as operations

    with settings.open() as context:
        spec = _spec(alg, crv, bits, kid)
        outcome = operations.add_set(
            context, name, spec=spec, issuer=issuer, at=at, external=external, push=push, dry_run=dry_run
        )
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


@sets.command("remove")
def remove_set(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The set.", autocompletion=complete_set)],
    force: Annotated[bool, typer.Option("--force", help="Revoke its keys at once; needs --reason.")] = False,
    reason: Reason = None,
    push: Push = False,
    dry_run: DryRun = False,
    as_json: JSON = False,
) -> None:
    """
    Retire a set: signing stops, and issued tokens verify until they expire.

    Run the command again once the last key has left the JWK Set, to remove the set from keyvault.toml.

    \b
    Examples:
      keyvault set remove reports
      keyvault set remove reports --force --reason "never went live"
    """
    from keyvault.cli.show import show_outcome
    from keyvault.operations import keys as operations
    from keyvault.operations.rotation import check_text

    check_reason_with_force(reason, force=force)
    with settings.open() as context:
        forced = check_text(reason, "--reason")
        outcome = operations.remove_set(context, name, forced=forced, push=push, dry_run=dry_run)
    show_outcome(outcome, now=settings.now, dry_run=dry_run, as_json=as_json, quiet=settings.quiet)


@keys.command("list")
def list_keys(
    name: Annotated[
        str | None, typer.Argument(metavar="[SET]", help="Only this set.", autocompletion=complete_set)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Include withdrawn and revoked keys.")] = False,
    as_json: JSON = False,
) -> None:
    """
    List keys and their states.

    \b
    Examples:
      keyvault key list --all
      keyvault key list id-token --json
    """
    from keyvault.cli.show import show_keys
    from keyvault.operations.reports import key_report

    with settings.open() as context:
        state = context.state()
        found = state.find_set(name).keys if name else tuple(state.keys.values())
    shown = [key_report(key) for key in found if every or key.state in ("active", "next", "retiring")]
    if as_json:
        emit_json(shown)
    elif settings.quiet:
        for key in shown:
            say(key.kid)
    else:
        show_keys(shown, now=settings.now)


@keys.command("show", cls=DashArgumentCommand)
def show_key(
    kid: KidPrefix,
    as_json: JSON = False,
) -> None:
    """
    Show a key: its events, its public JWK, and the recipients of its private half.

    \b
    Examples:
      keyvault key show Xk3f
    """
    from keyvault.core.jwk import pretty
    from keyvault.core.text import format_instant, printable
    from keyvault.operations.reports import key_detail

    with settings.open() as context:
        detail = key_detail(context.state().find_key(kid))
    if as_json:
        emit_json(detail)
        return
    say(f"{detail.key.kid}")
    say(f"  set {detail.key.set}, {detail.key.state}, {detail.key.alg}")
    sealed_to = printable(", ".join(detail.recipients))
    say(f"  sealed to {sealed_to}" if sealed_to else "  no private half in the vault")
    rows = []
    for event in detail.events:
        words = [event.reason, event.note, event.url, f"forced: {event.forced}" if event.forced else None]
        if event.keep_until:
            words.append(f"kept until {format_instant(event.keep_until)}")
        rows.append([format_instant(event.at), event.event, "; ".join(word for word in words if word)])
    columns(rows, indent="  ")
    emit_bytes(pretty(detail.public))
