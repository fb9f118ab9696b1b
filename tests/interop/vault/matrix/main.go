// Verify tokens as HashiCorp Vault does with its auth method jwt; OpenBao has it from there.
//
// usage: matrix VERIFIER JWKS_URL ISSUER AUDIENCE ALG[,ALG…] <tokens
//
// Reads one token a line and prints one JSON line for each, in the same order: {"ok": "the alias of who logs in"} or
// {"error": "what the method says"}. It is the method itself, with a storage in memory below and no server above. It
// is told the algorithms that it knows of those that are expected.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/cap/jwt"
	"github.com/hashicorp/go-hclog"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	"github.com/hashicorp/vault/sdk/logical"
)

type method struct {
	backend logical.Backend
	storage logical.Storage
}

func (m method) ask(ctx context.Context, operation logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	response, err := m.backend.HandleRequest(ctx, &logical.Request{
		Operation:  operation,
		Path:       path,
		Storage:    m.storage,
		Data:       data,
		Connection: &logical.Connection{RemoteAddr: "127.0.0.1"},
	})
	if err == nil && response != nil && response.IsError() {
		err = response.Error()
	}
	return response, err
}

func configured(ctx context.Context, url, issuer, audience string, algs []string) (method, error) {
	storage := &logical.InmemStorage{}
	backend, err := jwtauth.Factory(ctx, &logical.BackendConfig{
		Logger:      hclog.NewNullLogger(),
		System:      &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: time.Hour},
		StorageView: storage,
	})
	if err != nil {
		return method{}, err
	}
	m := method{backend, storage}
	var known []string
	for _, alg := range algs {
		if jwt.SupportedSigningAlgorithm(jwt.Alg(alg)) == nil {
			known = append(known, alg)
		}
	}
	config := map[string]any{"jwks_url": url, "bound_issuer": issuer, "jwt_supported_algs": known}
	if _, err := m.ask(ctx, logical.UpdateOperation, "config", config); err != nil {
		return m, err
	}
	role := map[string]any{"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{audience}}
	_, err = m.ask(ctx, logical.CreateOperation, "role/reader", role)
	return m, err
}

func main() {
	url, issuer, audience, algs := os.Args[2], os.Args[3], os.Args[4], strings.Split(os.Args[5], ",")
	ctx := context.Background()
	m, broken := configured(ctx, url, issuer, audience, algs)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer := map[string]string{}
		if broken != nil {
			answer["error"] = broken.Error()
		} else if response, err := m.ask(ctx, logical.UpdateOperation, "login", map[string]any{"role": "reader", "jwt": lines.Text()}); err != nil {
			answer["error"] = err.Error()
		} else {
			answer["ok"] = response.Auth.Alias.Name
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
