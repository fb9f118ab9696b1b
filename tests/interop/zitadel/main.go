// Verify ID tokens as a relying party does that reads the discovery document of its issuer when it starts.
//
// usage: zitadel ISSUER AUDIENCE <tokens
// Tokens carry the nonce "nonce".
//
// Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the sub of the token"} or
// {"error": "what the library says"}. All tokens of a run share what the library caches. A line with "ready" comes first.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

func main() {
	issuer, audience := os.Args[1], os.Args[2]
	ctx := context.Background()
	nonce := rp.WithVerifierOpts(rp.WithNonce(func(context.Context) string { return "nonce" }))
	party, err := rp.NewRelyingPartyOIDC(
		ctx, issuer, audience, "", "http://localhost/callback", []string{"openid"},
		rp.WithSigningAlgsFromDiscovery(), nonce,
	)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(`{"ready": true}`)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		answer := map[string]string{}
		claims, err := rp.VerifyIDToken[*oidc.IDTokenClaims](ctx, lines.Text(), party.IDTokenVerifier())
		if err != nil {
			answer["error"] = err.Error()
		} else {
			answer["ok"] = claims.Subject
		}
		if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
			log.Fatal(err)
		}
	}
}
