// Verify tokens by JWK Sets that may be broken, with hashicorp/cap and the go-oidc that it asks for: OpenBao and Vault
// have both. A module of its own, since others of the tests ask for a newer go-oidc.
//
// Reads JSON lines {"jwks_uri", "token"} and prints a JSON line for each, in the same order: {"cap": "…"}, empty where
// the token was accepted, else why it was not.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/hashicorp/cap/jwt"
)

type question struct {
	JWKSURI string `json:"jwks_uri"`
	Token   string `json:"token"`
}

func verify(ctx context.Context, q question) error {
	keys, err := jwt.NewJSONWebKeySet(ctx, q.JWKSURI, "")
	if err != nil {
		return err
	}
	verifier, err := jwt.NewValidator(keys)
	if err != nil {
		return err
	}
	known := []jwt.Alg{
		jwt.RS256, jwt.RS384, jwt.RS512, jwt.ES256, jwt.ES384, jwt.ES512, jwt.PS256, jwt.PS384, jwt.PS512, jwt.EdDSA,
	}
	_, err = verifier.Validate(ctx, q.Token, jwt.Expected{Audiences: []string{"app"}, SigningAlgorithms: known})
	return err
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			log.Fatal(err)
		}
		why := ""
		if err := verify(context.Background(), q); err != nil {
			why = fmt.Sprintf("%.200s", err.Error())
		}
		line, err := json.Marshal(map[string]string{"cap": why})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(line))
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}
