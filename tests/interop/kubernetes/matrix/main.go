// Verify tokens as the API server of Kubernetes does that trusts an issuer (OIDC).
//
// usage: matrix VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
//
// Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the name of the user"} or
// {"error": "what the authenticator says"}. It finds the JWK Set by the issuer, so the URL is not used; it takes every
// algorithm that it knows, as it does with an AuthenticationConfiguration, and is not told which are expected.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
)

// The certificates of certificateAuthority in an AuthenticationConfiguration.
type authority []byte

func (a authority) CurrentCABundleContent() []byte { return a }

func authenticator(ctx context.Context, issuer, audience string) (oidc.AuthenticatorTokenWithHealthCheck, error) {
	certificates, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		return nil, err
	}
	prefix := ""
	found, err := oidc.New(ctx, oidc.Options{
		JWTAuthenticator: apiserver.JWTAuthenticator{
			Issuer: apiserver.Issuer{URL: issuer, Audiences: []string{audience}},
			ClaimMappings: apiserver.ClaimMappings{
				Username: apiserver.PrefixedClaimOrExpression{Claim: "sub", Prefix: &prefix},
			},
		},
		CAContentProvider:    authority(certificates),
		SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(),
	})
	if err != nil {
		return nil, err
	}
	// It reads the discovery document in the background.
	for range 500 {
		if found.HealthCheck() == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return found, nil
}

func main() {
	ctx := context.Background()
	verifier, broken := authenticator(ctx, os.Args[3], os.Args[4])
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer := map[string]string{}
		if broken != nil {
			answer["error"] = broken.Error()
		} else if response, ok, err := verifier.AuthenticateToken(ctx, lines.Text()); err != nil {
			answer["error"] = err.Error()
		} else if !ok {
			answer["error"] = "the token is none of this issuer"
		} else {
			answer["ok"] = response.User.GetName()
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
