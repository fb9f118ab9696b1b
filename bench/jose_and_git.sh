#!/bin/sh
# The peer of the rotation row: a script that keeps sealed keys in git with the jose command. It
# creates as many keys as the first argument says, each in its own file and commit. The folder is
# a repository, and the second argument is the public key to seal to.
set -eu
count=$1
recipient=$2
mkdir -p keys
i=0
while [ "$i" -lt "$count" ]; do
  i=$((i + 1))
  jose jwk gen -i '{"alg":"ES256"}' |
    jose jwe enc -i '{"protected":{"alg":"ECDH-ES+A256KW","enc":"A256GCM"}}' -I- -k "$recipient" -o "keys/$i.jwe"
  git add "keys/$i.jwe"
  git commit --quiet --message "key $i"
done
