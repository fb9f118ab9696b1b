// Verify tokens by JWK Sets that may be broken, with go-oidc and with go-jose alone.
//
// Reads JSON lines {"jwks_uri", "issuer", "token"} and prints a JSON line for each, in the same order:
// {"go-oidc": "…", "go-jose": "…"}, each empty where the token was accepted, else why it was not. With an issuer,
// go-oidc reads its discovery document first, and go-jose is not asked.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

type question struct {
	JWKSURI string `json:"jwks_uri"`
	Issuer  string `json:"issuer"`
	Token   string `json:"token"`
}

// Every algorithm that both know.
var algorithms = []string{
	oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512,
	oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
}

func withDiscovery(ctx context.Context, q question) error {
	provider, err := oidc.NewProvider(ctx, q.Issuer)
	if err != nil {
		return err
	}
	config := &oidc.Config{SkipClientIDCheck: true, SkipIssuerCheck: true}
	_, err = provider.Verifier(config).Verify(ctx, q.Token)
	return err
}

func withOIDC(ctx context.Context, q question) error {
	config := &oidc.Config{SkipClientIDCheck: true, SkipIssuerCheck: true, SupportedSigningAlgs: algorithms}
	_, err := oidc.NewVerifier("", oidc.NewRemoteKeySet(ctx, q.JWKSURI), config).Verify(ctx, q.Token)
	return err
}

func withJOSE(q question) error {
	response, err := http.Get(q.JWKSURI)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(body, &set); err != nil {
		return err
	}
	known := []jose.SignatureAlgorithm{}
	for _, name := range algorithms {
		known = append(known, jose.SignatureAlgorithm(name))
	}
	signed, err := jose.ParseSigned(q.Token, known)
	if err != nil {
		return err
	}
	_, err = signed.Verify(&set)
	return err
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%.200s", err.Error())
}

func main() {
	ctx := context.Background()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		answer := map[string]string{}
		if q.Issuer != "" {
			answer["go-oidc"] = text(withDiscovery(ctx, q))
		} else {
			answer["go-oidc"] = text(withOIDC(ctx, q))
			answer["go-jose"] = text(withJOSE(q))
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
