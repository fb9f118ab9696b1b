# Verify tokens as a service does that uses Crypt::JWT of Debian.
#
# usage: perl verify.pl VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
#
# Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
# {"error": "what the library says"}. The library fetches nothing: the program gives it the JWK Set, once.

use strict;
use warnings;

use Crypt::JWT qw(decode_jwt);
use HTTP::Tiny;
use JSON::PP;

my ($name, $url, $issuer, $audience, $algorithms) = @ARGV;
my $json = JSON::PP->new->canonical;
my $set;

$| = 1;
while (my $token = <STDIN>) {
    chomp $token;
    my $claims = eval {
        $set //= $json->decode(HTTP::Tiny->new->get($url)->{content});
        decode_jwt(
            token        => $token,
            kid_keys     => $set,
            accepted_alg => [split /,/, $algorithms],
            verify_iss   => sub { $_[0] eq $issuer },
            verify_aud   => sub { $_[0] eq $audience },
            verify_exp   => 1,
        );
    };
    print $json->encode($claims ? { ok => $claims->{sub} } : { error => "$@" }), "\n";
}
