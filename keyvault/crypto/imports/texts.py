"""
Find keys in the files around them: JSON, Kubernetes Secrets, dotenv files, service accounts, Base64.

Each layer is unwrapped and its content is read in turn, a few layers deep. Readers of containers are imported on use: a
JWK needs none of them. The YAML reader supports only the flat form of a Secret: this needs no YAML library, and exposes
no other feature of YAML to foreign input.

Sources: Kubernetes' v1.Secret, Google Cloud's service account keys, Keycloak's realm exports.
"""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from keyvault.core.text import elided
from keyvault.crypto.imports.found import Found, FoundKey, NoKeyError, Password
from keyvault.crypto.imports.jwk import is_supported, read_jwk
from keyvault.errors import JWKError, UsageError

_LAYERS_MAX = 6
_PEM = "-----BEGIN "
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

_DUPLICATE_MEMBER = "duplicate member"

#: Unsupported formats by their first bytes: the name, and the command that converts them.
_UNSUPPORTED_FORMATS = {
    b"\xfe\xed\xfe\xed": (
        "Java keystores (JKS)",
        "keytool -importkeystore -srckeystore FILE -destkeystore key.p12 -deststoretype PKCS12",
    ),
    b"\xce\xce\xce\xce": (
        "Java keystores (JCEKS)",
        "keytool -importkeystore -srckeystore FILE -srcstoretype JCEKS -destkeystore key.p12 -deststoretype PKCS12",
    ),
    b"PuTTY-User-Key-File": ("PuTTY keys", "puttygen FILE -O private-openssh -o key.pem"),
}
_SECRET_YAML = re.compile(r"^kind:[ \t]*[\"']?Secret[\"']?[ \t]*(?:#.*)?\r?$", re.MULTILINE)
#: Unsupported YAML: Secrets in a list, and entries in braces.
_OTHER_YAML = re.compile(r"^(?:[ ]+|- )kind:[ \t]*[\"']?Secret\b|^(?:data|stringData):[ \t]*\{", re.MULTILINE)
_COMPACT_JWE = re.compile(r"[\w-]+\.[\w-]*(?:\.[\w-]+){3}", re.ASCII)
_VARIABLE = re.compile(
    r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*"
    r"(?:'([^']*)'|\"((?:[^\"\\]|\\.)*)\"|([^\n#]*))",
    re.MULTILINE | re.DOTALL,
)
_SSH_PUBLIC = re.compile(r"(?:ssh-(?:rsa|ed25519)|ecdsa-sha2-nistp\d+) AAAA")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def read_layers(data: bytes, password: Password, depth: int = 0) -> Iterator[Found]:
    """
    Yield the keys and certificates in *data*, in whatever layers.

    Raises:
        NoKeyError: If nothing in *data* can be a key.
        UsageError: If the format is not supported, or the password is missing or wrong.
        JWKError: If a key is malformed.
        WeakKeyError: If a key is weak.
    """
    if depth > _LAYERS_MAX:
        raise _unrecognized()
    for magic, (formats, hint) in _UNSUPPORTED_FORMATS.items():
        if data.startswith(magic):
            raise UsageError(f"{formats} are not supported", code="format-unsupported", hint=hint)
    text = _text(data)
    if data[:1] == b"\x30" and (text is None or not text.isprintable()):
        from keyvault.crypto.imports.binary import read_binary

        yield from read_binary(data, password)
        return
    if text is None:
        raise _unrecognized()
    stripped = text.strip()
    if not stripped:
        raise NoKeyError("the file is empty", code="key-not-found")
    if _OTHER_YAML.search(text):
        raise UsageError(
            "a Secret in this form of YAML is not supported",
            code="format-unsupported",
            hint="kubectl get secret NAME -o json | keyvault key import SET -",
        )
    if stripped[:1] in ("{", "[", '"'):
        yield from _read_json(stripped, password, depth)
    elif _SECRET_YAML.search(text):
        yield from _read_secret(_yaml_entries(text), password, depth)
    elif (variables := _variables(text)) and (found := _in_variables(variables, text, password, depth)):
        yield from found
    elif _PEM in text:
        from keyvault.crypto.imports.pem import read_pem

        yield from read_pem(text, password)
    elif _COMPACT_JWE.fullmatch(stripped):
        names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
        yield from _read_document(dict(zip(names, stripped.split("."), strict=True)), password, depth)
    elif _SSH_PUBLIC.match(stripped):
        from keyvault.crypto.imports.pem import read_openssh_public

        yield read_openssh_public(stripped)
    else:
        yield from read_layers(_from_base64(stripped), password, depth + 1)


def _unrecognized() -> NoKeyError:
    return NoKeyError("neither JSON nor PEM nor DER: no key found", code="format-unrecognized")


def _text(data: bytes) -> str | None:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _from_base64(text: str) -> bytes:
    joined = "".join(text.split())
    plain = joined.translate(str.maketrans("-_", "+/")).rstrip("=")
    if len(plain) < 16 or not _BASE64.fullmatch(joined):
        raise _unrecognized()
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        raise _unrecognized() from None


# --- JSON -----------------------------------------------------------------------------------------------


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(_DUPLICATE_MEMBER)
    return found


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _read_json(text: str, password: Password, depth: int) -> Iterator[Found]:
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if str(error) == _DUPLICATE_MEMBER:
            raise UsageError("the JSON has a member twice", code="json-member-duplicate") from None
        raise _unrecognized() from None
    yield from _read_document(document, password, depth)


def _read_document(document: Any, password: Password, depth: int) -> Iterator[Found]:
    match document:
        case str():
            yield from read_layers(document.encode(errors="surrogatepass"), password, depth + 1)
        case list():
            _check_one_realm(document)
            for item in document:
                yield from _read_document(item, password, depth)
        case {"keys": [*keys]}:
            yield from _read_set(keys, password, depth)
        case {"kty": _}:
            yield read_jwk(document)
        case {"ciphertext": _}:
            from keyvault.crypto.imports.encrypted import decrypt_jwk

            yield from read_layers(decrypt_jwk(document, password.get()), password, depth + 1)
        case {"components": {**components}}:
            from keyvault.crypto.imports.keycloak import PROVIDERS, read_realm

            yield from read_realm(components.get(PROVIDERS, []), password)
        case {"kind": "Secret"}:
            yield from _read_secret(_json_entries(document), password, depth)
        case {"kind": "List" | "SecretList", "items": [*items]}:
            for item in items:
                yield from _read_document(item, password, depth)
        case {"type": "service_account", "private_key": str(pem)}:
            yield from _read_service_account(document, pem, password)
        case _:
            raise UsageError(
                "the JSON is not a JWK, JWK Set, encrypted JWK or Keycloak realm",
                code="format-unsupported",
                hint="also supported: Kubernetes Secrets and Google service accounts",
            )


def _read_set(keys: list[Any], password: Password, depth: int) -> Iterator[Found]:
    unsupported = []
    for number, jwk in enumerate(keys, 1):
        if not isinstance(jwk, dict):
            raise JWKError(f"key {number} of the set is not an object", code="jwk-set-malformed")
        if len(keys) > 1 and not is_supported(jwk):
            unsupported.append(f"skipped: key {number} of the set has an unsupported type or curve")
            continue
        try:
            for item in _read_document(jwk, password, depth):
                if unsupported and isinstance(item, FoundKey):
                    item = replace(item, remarks=(*item.remarks, *unsupported))
                    unsupported = []
                yield item
        except (JWKError, UsageError) as error:
            message = f"key {number} of the set: {error.message}"
            raise type(error)(message, code=error.code, hint=error.hint) from None


def _check_one_realm(documents: list[object]) -> None:
    """Refuse several realms at once: each has its own keys and its own issuer."""
    realms = [str(item.get("realm")) for item in documents if isinstance(item, dict) and "components" in item]
    if len(realms) > 1:
        named = elided(", ".join(realms))[:300]
        first = elided(realms[0])[:80]
        raise UsageError(
            f"the file has {len(realms)} realms, of which only one can be imported at a time: {named}",
            code="realm-ambiguous",
            hint=f"jq '.[] | select(.realm == \"{first}\")' FILE | keyvault key import SET -",
        )


def _read_service_account(document: Mapping[str, Any], pem: str, password: Password) -> Iterator[Found]:
    from keyvault.crypto.imports.pem import read_pem

    kid = document.get("private_key_id")
    for found in read_pem(pem, password):
        if isinstance(found, FoundKey) and isinstance(kid, str) and kid:
            yield replace(found, kid=kid, use="sig", alg="RS256")
        else:
            yield found


# --- names and values -----------------------------------------------------------------------------------


def _read_secret(entries: dict[str, bytes], password: Password, depth: int) -> Iterator[Found]:
    yield from _read_entries(entries, password, depth, "entry of the Secret")


def _read_entries(entries: Mapping[str, bytes], password: Password, depth: int, what: str) -> Iterator[Found]:
    """Yield the keys in named values, and skip other values; a value named kid labels a single key."""
    found: list[Found] = []
    kids = []
    for name, value in entries.items():
        if re.search(r"(?:^|[_.-])kid$", name, re.IGNORECASE):
            kids.append(value.decode(errors="replace").strip())
            continue
        try:
            found += read_layers(value, password, depth + 1)
        except NoKeyError:
            continue
        except (JWKError, UsageError) as error:
            message = f"{what} {elided(name)[:60]}: {error.message}"
            raise type(error)(message, code=error.code, hint=error.hint) from None
    if not found:
        raise NoKeyError(f"no {what} is a key: {elided(', '.join(entries))[:200]}", code="key-not-found")
    bare = [item for item in found if isinstance(item, FoundKey) and item.kid is None]
    if len(kids) == 1 and len(bare) == len([item for item in found if isinstance(item, FoundKey)]) == 1:
        found[found.index(bare[0])] = replace(bare[0], kid=kids[0])
    yield from found


def _json_entries(secret: Mapping[str, Any]) -> dict[str, bytes]:
    entries = {}
    for member, encoded in (("data", True), ("stringData", False)):
        values = secret.get(member)
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, str):
                entries[name] = _entry(value, encoded=encoded)
    return entries


def _entry(value: str, *, encoded: bool) -> bytes:
    if not encoded:
        return value.encode(errors="replace")
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except ValueError:
        return b""


def _yaml_entries(text: str) -> dict[str, bytes]:
    """Return the entries of the Secrets in *text*: names at the same depth, each with a scalar in any style."""
    entries: dict[str, bytes] = {}
    member, name, indent = "", "", 0
    lines: list[str] = []

    def close() -> None:
        if name:
            entries[name] = _entry(_scalar(lines), encoded=member == "data")

    for line in text.splitlines():
        depth = len(line) - len(line.lstrip(" "))
        if name and (not line.strip() or depth > indent):
            lines.append(line.strip())
            continue
        close()
        name = ""
        if depth == 0:
            member = line.rstrip().removesuffix(":")
        elif member in ("data", "stringData") and (entry := re.fullmatch(r" +[\"']?([\w.-]+)[\"']?:[ ]?(.*)", line)):
            name, indent, lines = entry[1], depth, [entry[2].strip()]
    close()
    return entries


def _in_variables(variables: Mapping[str, bytes], text: str, password: Password, depth: int) -> list[Found]:
    """Return the keys in the variables of *text*; none if it is PEM after a line such as ``subject=CN=x``."""
    try:
        return list(_read_entries(variables, password, depth, "variable"))
    except NoKeyError:
        if _PEM in text:
            return []
        raise


def _scalar(lines: list[str]) -> str:
    """Return the text of a YAML scalar from its lines: in a block, quoted or plain."""
    first, *rest = lines
    if re.fullmatch(r"[|>][+-]?\d?[+-]?", first):
        return "\n".join(rest) + "\n"
    folded = first
    for previous, line in zip(lines, rest, strict=False):
        if not line:
            folded += "\n"
        elif folded.endswith("\\") and first[:1] == '"':
            folded = folded[:-1] + (line[1:] if line.startswith("\\ ") else line)
        else:
            folded += line if not previous else f" {line}"
    if len(folded) >= 2 and folded[0] == folded[-1] == "'":
        return folded[1:-1].replace("''", "'")
    if len(folded) >= 2 and folded[0] == folded[-1] == '"':
        try:
            return str(json.loads(folded, strict=False))
        except ValueError:
            return folded[1:-1]
    return re.sub(r"\s+#.*$", "", folded)


def _variables(text: str) -> dict[str, bytes]:
    """Return the variables of a dotenv file; none unless *text* begins with a variable and some value may be a key."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines or not _VARIABLE.match(lines[0]):
        return {}
    found = {}
    for match in _VARIABLE.finditer(text):
        single, double, bare = match[2], match[3], match[4]
        if double is not None:
            value = re.sub(r"\\(.)", lambda escape: {"n": "\n", "r": "\r"}.get(escape[1], escape[1]), double)
        else:
            value = single if single is not None else (bare or "").strip()
        found[match[1]] = value.encode()
    return found if any(len(value) >= 40 for value in found.values()) else {}
