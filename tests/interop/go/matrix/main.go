// Verify tokens as a service does that uses one of Go's libraries.
//
// usage: matrix VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
//
// Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
// {"error": "what the library says"}. All tokens of a run share what the library caches. A library that fetches nothing
// is given the JWK Set by the program, once.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/httprc/v3/errsink"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// From a token to its sub.
type verify func(token string) (string, error)

func withOIDC(ctx context.Context, url, issuer, audience string, algs []string) (verify, error) {
	config := &oidc.Config{ClientID: audience, SupportedSigningAlgs: algs}
	verifier := oidc.NewVerifier(issuer, oidc.NewRemoteKeySet(ctx, url), config)
	return func(token string) (string, error) {
		verified, err := verifier.Verify(ctx, token)
		if err != nil {
			return "", err
		}
		return verified.Subject, nil
	}, nil
}

func withJOSE(_ context.Context, url, issuer, audience string, algs []string) (verify, error) {
	response, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return nil, err
	}
	var allowed []jose.SignatureAlgorithm
	for _, alg := range algs {
		allowed = append(allowed, jose.SignatureAlgorithm(alg))
	}
	expected := josejwt.Expected{Issuer: issuer, AnyAudience: josejwt.Audience{audience}}
	return func(token string) (string, error) {
		parsed, err := josejwt.ParseSigned(token, allowed)
		if err != nil {
			return "", err
		}
		var claims josejwt.Claims
		if err := parsed.Claims(set, &claims); err != nil {
			return "", err
		}
		return claims.Subject, claims.Validate(expected)
	}, nil
}

func withJWX(ctx context.Context, url, issuer, audience string, _ []string) (verify, error) {
	// The cache tries again and again in the background. Where the first try fails, that is the answer here.
	failed := make(chan error, 1)
	sink := errsink.NewFunc(func(_ context.Context, err error) {
		select {
		case failed <- err:
		default:
		}
	})
	cache, err := jwk.NewCache(ctx, httprc.NewClient(httprc.WithErrorSink(sink)))
	if err != nil {
		return nil, err
	}
	ready := make(chan error, 1)
	go func() { ready <- cache.Register(ctx, url) }()
	select {
	case err = <-failed:
	case err = <-ready:
	}
	if err != nil {
		return nil, err
	}
	set, err := cache.CachedSet(url)
	if err != nil {
		return nil, err
	}
	return func(token string) (string, error) {
		// The algorithms are those of the keys.
		verified, err := jwt.Parse([]byte(token), jwt.WithKeySet(set), jwt.WithIssuer(issuer), jwt.WithAudience(audience))
		if err != nil {
			return "", err
		}
		subject, _ := verified.Subject()
		return subject, nil
	}, nil
}

var verifiers = map[string]func(ctx context.Context, url, issuer, audience string, algs []string) (verify, error){
	"go-oidc": withOIDC,
	"go-jose": withJOSE,
	"jwx":     withJWX,
}

func main() {
	name, url, issuer, audience, algs := os.Args[1], os.Args[2], os.Args[3], os.Args[4], strings.Split(os.Args[5], ",")
	verifier, broken := verifiers[name](context.Background(), url, issuer, audience, algs)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer := map[string]string{}
		if broken != nil {
			answer["error"] = broken.Error()
		} else if subject, err := verifier(lines.Text()); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["ok"] = subject
		}
		line, err := json.Marshal(answer)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}
