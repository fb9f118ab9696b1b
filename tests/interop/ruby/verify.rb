# Verify tokens as a service does that uses ruby-jwt of Debian.
#
# usage: ruby verify.rb VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
#
# Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
# {"error": "what the library says"}. The library asks for the JWK Set, and asks again when it lacks a kid; the answer is
# cached as its README shows, but without a pause.

require "json"
require "jwt"
require "net/http"

_name, url, issuer, audience, algorithms = ARGV
set = nil
jwks = lambda do |options|
  set = nil if options[:invalidate]
  set ||= JSON.parse(Net::HTTP.get(URI(url)), symbolize_names: true)
end
options = {
  algorithms: algorithms.split(","),
  jwks: jwks,
  iss: issuer,
  verify_iss: true,
  aud: audience,
  verify_aud: true,
}

$stdout.sync = true
STDIN.each_line(chomp: true) do |token|
  claims, = JWT.decode(token, nil, true, options)
  puts JSON.generate(ok: claims["sub"])
rescue StandardError => error
  puts JSON.generate(error: "#{error.class}: #{error.message}")
end
