#!/usr/bin/env bash
# jose 6.2.18 on Node.js 20.20.2
#
# Behaviour: a private key that is restricted to RSASSA-PSS (id-RSASSA-PSS in its PKCS#8, RFC 4055) cannot be imported for
# PS256, the one algorithm that it is for: Web Crypto accepts only keys with the identifier rsaEncryption. Node.js
# itself reads the key and signs with it. OpenSSL generates such keys with `genpkey -algorithm RSA-PSS`.
# Expected instead: the restricted key is the best fit for PS256.
#
# Output seen:
#   node:crypto: rsa-pss sha256
#   PS256: DataError
#   PS256, without the restriction: imported
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init -y >npm.log
npm install --no-audit --no-fund --loglevel=error jose@6.2.18 >>npm.log
cat >import.mjs <<'JS'
import crypto from "node:crypto";
import { importPKCS8 } from "jose";

const settings = { modulusLength: 2048, hashAlgorithm: "sha256", mgf1HashAlgorithm: "sha256", saltLength: 32 };
const { privateKey } = crypto.generateKeyPairSync("rsa-pss", settings);
console.log("node:crypto:", privateKey.asymmetricKeyType, privateKey.asymmetricKeyDetails.hashAlgorithm);
const say = async (label, pem) =>
  console.log(`${label}:`, await importPKCS8(pem, "PS256").then(() => "imported", (error) => error.name));
await say("PS256", privateKey.export({ type: "pkcs8", format: "pem" }));
const plain = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
await say("PS256, without the restriction", plain.export({ type: "pkcs8", format: "pem" }));
JS
node import.mjs | tee seen
printf '%s\n' 'node:crypto: rsa-pss sha256' 'PS256: DataError' 'PS256, without the restriction: imported' | diff - seen
