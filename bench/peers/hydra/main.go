// Generates keys as Ory Hydra does for a JSON Web Key Set, with the function that its server calls. Without the server
// there is no database, and nothing is encrypted or stored.
//
//	hydra ALG COUNT
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/hydra/v2/jwk"
)

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: hydra ALG COUNT")
	}
	count, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for range count {
		set, err := jwk.GenerateJWK(context.Background(), jose.SignatureAlgorithm(os.Args[1]), "", "sig")
		if err != nil {
			return err
		}
		if err := out.Encode(set); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "hydra:", err)
		os.Exit(1)
	}
}
