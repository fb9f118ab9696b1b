"""Keys, sets of keys, and the state of a vault."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import timedelta

import pytest

from keyvault.core.algorithms import key_spec
from keyvault.core.keys import Key
from keyvault.core.state import longest_token_lifetime
from keyvault.errors import RecordError, UsageError
from tests.core.build import (
    DAY,
    HOUR,
    SITE,
    T0,
    active_key,
    created,
    make_key,
    next_key,
    only_set,
    public_key,
    retiring_key,
    revoked,
    set_policy,
    vault,
    withdrawn,
)
from tests.errors import fails

# --- one key --------------------------------------------------------------------------------------------


def test_the_state_of_a_key_follows_from_its_events() -> None:
    """The record does not store the state."""
    key = active_key()
    assert (key.state, key.kid, key.sealed) == ("active", key.public.kid, True)
    assert key.life is key.life  # folded once


def test_the_path_of_a_record_follows_from_its_set_and_kid() -> None:
    """The file name is the kid, or a safe name for an awkward kid."""
    assert make_key(created(), kid="2011-04-29").path == "keys.enc/id-token/2011-04-29.json"
    assert make_key(created(), kid="..").path == "keys.enc/id-token/kid-5ec1f7e700f37c3d0b2981d04855fc34.json"


def test_a_key_that_ended_is_not_sealed() -> None:
    """A withdrawn key has no private half in the vault."""
    assert not make_key(created(), withdrawn(T0)).sealed


@pytest.mark.parametrize(
    ("alg", "bits", "expected"), [("RS256", 2048, 2048), ("RS256", 3072, 3072), ("PS512", 4096, 4096)]
)
def test_the_length_of_an_rsa_key(alg: str, bits: int, expected: int) -> None:
    """The length is that of the modulus."""
    assert expected == make_key(created(), spec=key_spec(alg, bits=bits)).rsa_bits
    assert make_key(created(), spec="ES256").rsa_bits is None


@pytest.mark.parametrize(
    ("generated", "required", "fits"),
    [
        (("ES256", None, None), ("ES256", None, None), True),
        (("ES256", None, None), ("ES384", None, None), False),
        (("RS256", None, 2048), ("RS256", None, 2048), True),
        (("RS256", None, 2048), ("RS256", None, 3072), False),
        (("RS256", None, 2048), ("PS256", None, 2048), False),
        (("EdDSA", "Ed25519", None), ("EdDSA", "Ed25519", None), True),
        (("EdDSA", "Ed25519", None), ("EdDSA", "Ed448", None), False),
        (("ECDH-ES", "P-256", None), ("ECDH-ES", "X25519", None), False),
        (("HS256", None, 256), ("HS256", None, 256), True),
        (("HS256", None, 256), ("HS384", None, 384), False),
    ],
)  # fmt: skip
def test_whether_a_key_fits_the_policy(
    generated: tuple[str, str | None, int | None], required: tuple[str, str | None, int | None], fits: bool
) -> None:
    """Algorithm, key type, curve and length of an RSA modulus must agree."""
    key = make_key(created(), spec=key_spec(generated[0], crv=generated[1], bits=generated[2]))
    assert fits == key.fits(key_spec(required[0], crv=required[1], bits=required[2]))


@pytest.mark.parametrize(
    ("recorded", "policy", "expected"), [(HOUR, HOUR, HOUR), (5 * HOUR, HOUR, 5 * HOUR), (HOUR, 5 * HOUR, 5 * HOUR)]
)
def test_the_longest_token_lifetime_counts(recorded: timedelta, policy: timedelta, expected: timedelta) -> None:
    """Lowering token_lifetime never shortens the lifetime of issued tokens."""
    assert expected == longest_token_lifetime(active_key(lifetime=recorded), set_policy(token_lifetime=policy))


# --- a set ----------------------------------------------------------------------------------------------


def test_a_jwk_set_has_active_then_next_then_retiring_newest_first() -> None:
    """A verifier that uses the first key uses the active key."""
    older = retiring_key(T0, T0 + DAY)
    newer = retiring_key(T0 + HOUR, T0 + DAY)
    active, coming = active_key(T0 + HOUR), next_key(T0 + HOUR)
    gone = make_key(created(), withdrawn(T0))
    bad = make_key(created(), revoked(T0))
    key_set = only_set(vault([older, gone, coming, newer, bad, active]))
    assert (active, coming, newer, older) == key_set.jwk_set
    assert len(key_set.keys) == 6  # the set keeps withdrawn and revoked keys


def test_keys_that_retired_at_the_same_instant_have_an_order() -> None:
    """The same vault gives the same bytes even if instants are equal."""
    first, second = (retiring_key(T0, T0 + DAY, kid=kid) for kid in "ab")
    assert only_set(vault([first, second])).retiring == only_set(vault([second, first])).retiring == (second, first)


def test_only_the_active_key_of_an_encryption_set_is_published() -> None:
    """Senders must not encrypt to a key that is not yet, or no longer, in use."""
    spec = "ECDH-ES+A256KW"
    active, coming, former = active_key(spec=spec), next_key(spec=spec), retiring_key(T0, T0 + DAY, spec=spec)
    assert only_set(vault([active, coming, former], set_policy(spec=spec))).jwk_set == (active,)


def test_symmetric_keys_are_never_published() -> None:
    """Every reader of a symmetric key can sign with it, so the site does not render such a set."""
    state = vault([active_key(spec="HS256"), next_key(spec="HS256")], set_policy(spec="HS256"))
    assert not only_set(state).rendered
    assert only_set(state).jwk_set == ()
    assert state.places == {}
    assert list(state.keys_at("")) == []


def test_an_empty_set() -> None:
    """A set that is new in keyvault.toml has no keys, and no newest event."""
    key_set = only_set(vault())
    assert (key_set.active, key_set.next, key_set.retiring, key_set.jwk_set) == (None, None, (), ())
    assert key_set.newest_at is None


@pytest.mark.parametrize("make", [active_key, next_key])
def test_a_set_with_two_active_or_two_next_keys_is_refused(make: Callable[[], Key]) -> None:
    """The message names both keys."""
    first, second = sorted((make(), make()), key=lambda key: key.kid)
    with fails(f"two-{first.state}", RecordError) as caught:
        _ = vault([first, second]).sets
    assert f"set id-token has 2 {first.state} keys: {first.kid}, {second.kid}" == caught.value.message
    assert caught.value.hint == "keyvault repair --dry-run"


def test_the_newest_event_of_a_set() -> None:
    """Withdrawn and revoked keys count too: no later event of the set may be older."""
    assert only_set(vault([active_key(), make_key(created(), revoked(T0 + DAY))])).newest_at == T0 + DAY


# --- a vault --------------------------------------------------------------------------------------------


def test_sets_are_in_the_order_of_the_policy_and_keys_by_age() -> None:
    """The order of keyvault.toml is the user's; within a set the oldest key is first."""
    old, new = active_key(T0, set_name="b"), next_key(T0 + DAY, set_name="b")
    state = vault([new, old], set_policy("b"), set_policy("a"))
    assert list(state.sets) == ["b", "a"]
    assert (old, new) == state.sets["b"].keys


def test_a_set_that_left_the_policy_keeps_its_history() -> None:
    """Ended keys of a former set do not prevent the use of the vault."""
    gone = [make_key(created(at), withdrawn(T0 + DAY), set_name="old") for at in (T0 + HOUR, T0)]
    state = vault([*gone, active_key()])
    assert list(state.sets) == ["id-token"]
    assert state.former_sets == {"old": (gone[1], gone[0])}


@pytest.mark.parametrize(
    "key", [active_key(set_name="old"), next_key(set_name="old"), retiring_key(T0, T0 + DAY, set_name="old")]
)
def test_a_set_with_live_keys_needs_its_table(key: Key) -> None:
    """Deleting a table from keyvault.toml must not unpublish its keys; the hint says how to remove a set."""
    state = vault([key, make_key(created(), withdrawn(T0), set_name="old")])
    with fails("set-orphaned", RecordError) as caught:
        _ = state.sets
    assert "'old'" in caught.value.message
    assert caught.value.hint == "restore [sets.old] in keyvault.toml; then, to remove the set: keyvault set remove old"


def test_a_set_is_found_by_its_name() -> None:
    """For an unknown name, the hint has the most similar name, or the list of all."""
    state = vault([], set_policy("id-token"), set_policy("access-token"))
    assert state.find_set("id-token").name == "id-token"
    with fails("set-unknown", UsageError) as near:
        state.find_set("id-tokne")
    with fails("set-unknown", UsageError) as far:
        state.find_set("x")
    with fails("set-unknown", UsageError) as empty:
        dataclasses.replace(state, policy=dataclasses.replace(state.policy, sets={})).find_set("x")
    assert "'id-tokne'" in near.value.message
    assert near.value.hint == "did you mean 'id-token'?"
    assert far.value.hint == "the sets are id-token, access-token"
    assert empty.value.hint == "the sets are none yet"


def test_a_hint_lists_ten_sets_at_most() -> None:
    """A vault of hundreds of sets does not fill the terminal."""
    ten = [f"set-{number}" for number in range(10)]
    with fails("set-unknown", UsageError) as all_ten:
        vault([], *map(set_policy, ten)).find_set("x")
    with fails("set-unknown", UsageError) as eleven:
        vault([], *map(set_policy, [*ten, "set-10"])).find_set("x")
    assert all_ten.value.hint == f"the sets are {', '.join(ten)}"
    assert eleven.value.hint == f"the sets are {', '.join(ten)}, …"


def test_a_key_is_found_by_the_beginning_of_its_kid() -> None:
    """As in git, an unambiguous prefix is enough, and an exact kid wins over longer kids."""
    keys = {
        kid: make_key(created(T0), withdrawn(T0), kid=kid)
        for kid in ("abc", "abcd", "abd1", "abd2", "abd3", "abd4", "abd5", "xyz")
    }
    state = vault(keys.values())
    assert keys["abc"] is state.find_key("abc")
    assert keys["abcd"] is state.find_key("abcd")
    assert keys["xyz"] is state.find_key("x")


def test_a_prefix_of_several_kids_is_refused() -> None:
    """The message shows some of the kids, and the hint asks for more."""
    kids = ["abc", "abd1", "abd2", "abd3", "abd4"]
    state = vault(make_key(created(T0), withdrawn(T0), kid=kid) for kid in kids)
    with fails("kid-ambiguous", UsageError) as four:
        state.find_key("abd")
    with fails("kid-ambiguous", UsageError) as five:
        state.find_key("ab")
    assert four.value.message.endswith(" 4 keys: abd1, abd2, abd3, abd4")
    assert five.value.message.endswith(" 5 keys: abc, abd1, abd2, abd3, …")
    assert four.value.hint == "give more of the kid"


@pytest.mark.parametrize(
    ("prefix", "hint"),
    [("abx", "did you mean 'abc'?"), ("zzz", "keyvault key list --all"), ("", "keyvault key list --all")],
)
def test_an_unknown_kid(prefix: str, hint: str) -> None:
    """The hint has a similar kid or the command that lists them; an empty prefix matches no key."""
    state = vault([make_key(created(T0), withdrawn(T0), kid="abc")])
    with fails("kid-unknown", UsageError) as caught:
        state.find_key(prefix)
    assert f"'{prefix}'" in caught.value.message
    assert hint == caught.value.hint


def test_the_order_of_places_and_of_their_sets() -> None:
    """The site is first. Old verifiers stop at the first key that they do not know, so RSA is before EC before OKP."""
    api = f"{SITE}/api"
    state = vault(
        [],
        set_policy("z-api", "ES256", issuer=api),
        set_policy("okp", "EdDSA"),
        set_policy("ec-b", "ES256"),
        set_policy("ec-a", "ES384"),
        set_policy("secret", "HS256"),
        set_policy("rsa", "RS256"),
    )
    names = {place: [key_set.name for key_set in sets] for place, sets in state.places.items()}
    assert list(names.items()) == [("", ["rsa", "ec-a", "ec-b", "okp"]), ("/api", ["z-api"])]


def test_the_keys_of_a_place_are_in_the_order_of_its_sets() -> None:
    """Sets that share an issuer share one JWK Set."""
    keys = [
        make(T0, set_name=name, spec=spec)
        for name, spec in (("b", "RS256"), ("a", "ES256"))
        for make in (active_key, next_key)
    ]
    state = vault(reversed(keys), set_policy("a", "ES256"), set_policy("b", "RS256"))
    assert keys == list(state.keys_at(""))
    assert list(state.keys_at("/elsewhere")) == []


def test_distinct_fake_keys_have_distinct_kids() -> None:
    """The builders of these tests never return a key twice."""
    assert len({public_key().kid for _ in range(100)}) == 100
