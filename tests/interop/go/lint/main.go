// Verify tokens by JWK Sets that may be broken, with each of Go's libraries.
//
// Reads JSON lines {"jwks_uri", "issuer", "token"} and prints a JSON line for each, in the same order:
// {"go-oidc": "…", "go-jose": "…", …}, each empty where the token was accepted, else why it was not. With an issuer,
// those that can read its discovery document first, and the others are not asked.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/auth0/go-jwt-middleware/v2/jwks"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	oidc2 "github.com/coreos/go-oidc"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	golangjwt "github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

type question struct {
	JWKSURI string `json:"jwks_uri"`
	Issuer  string `json:"issuer"`
	Token   string `json:"token"`
}

// Every algorithm that go-oidc and go-jose know.
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

// As kube-apiserver does, which names the algorithms that it takes: those of RFC 7518 but HMAC.
func withDiscovery2(ctx context.Context, q question) error {
	provider, err := oidc2.NewProvider(ctx, q.Issuer)
	if err != nil {
		return err
	}
	config := &oidc2.Config{SkipClientIDCheck: true, SkipIssuerCheck: true, SupportedSigningAlgs: algorithms[:9]}
	_, err = provider.Verifier(config).Verify(ctx, q.Token)
	return err
}

func withOIDC(ctx context.Context, q question) error {
	config := &oidc.Config{SkipClientIDCheck: true, SkipIssuerCheck: true, SupportedSigningAlgs: algorithms}
	_, err := oidc.NewVerifier("", oidc.NewRemoteKeySet(ctx, q.JWKSURI), config).Verify(ctx, q.Token)
	return err
}

func withOIDC2(ctx context.Context, q question) error {
	config := &oidc2.Config{SkipClientIDCheck: true, SkipIssuerCheck: true, SupportedSigningAlgs: algorithms[:9]}
	_, err := oidc2.NewVerifier("", oidc2.NewRemoteKeySet(ctx, q.JWKSURI), config).Verify(ctx, q.Token)
	return err
}

func withJOSE(_ context.Context, q question) error {
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

func withJWX(ctx context.Context, q question) error {
	set, err := jwk.Fetch(ctx, q.JWKSURI)
	if err != nil {
		return err
	}
	_, err = jwt.Parse([]byte(q.Token), jwt.WithKeySet(set))
	return err
}

func withKeyfunc(ctx context.Context, q question) error {
	// A client of its own ends with the context.
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	keys, err := keyfunc.NewDefaultCtx(ctx, []string{q.JWKSURI})
	if err != nil {
		return err
	}
	_, err = golangjwt.Parse(q.Token, keys.KeyfuncCtx(ctx))
	return err
}

// It takes one algorithm: that of the token.
func withAuth0(ctx context.Context, q question) error {
	jwksURI, err := url.Parse(q.JWKSURI)
	if err != nil {
		return err
	}
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(q.Token, ".")[0])
	if err != nil {
		return err
	}
	var header struct {
		Alg validator.SignatureAlgorithm `json:"alg"`
	}
	if err := json.Unmarshal(head, &header); err != nil {
		return err
	}
	provider := jwks.NewProvider(jwksURI, jwks.WithCustomJWKSURI(jwksURI))
	verifier, err := validator.New(provider.KeyFunc, header.Alg, "https://issuer.example", []string{"app"})
	if err != nil {
		return err
	}
	_, err = verifier.ValidateToken(ctx, q.Token)
	return err
}

var (
	byIssuer = map[string]func(context.Context, question) error{"go-oidc": withDiscovery, "kubernetes": withDiscovery2}
	bySet    = map[string]func(context.Context, question) error{
		"go-oidc": withOIDC, "kubernetes": withOIDC2, "go-jose": withJOSE, "jwx": withJWX, "keyfunc": withKeyfunc,
		"go-jwt-middleware": withAuth0,
	}
)

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
		verifiers := bySet
		if q.Issuer != "" {
			verifiers = byIssuer
		}
		answer := map[string]string{}
		for name, verify := range verifiers {
			answer[name] = text(verify(ctx, q))
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
