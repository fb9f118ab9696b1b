// Verify tokens with the snippet of a page, which tests put into verify/.
//
// Reads "AUDIENCE TOKEN" lines and prints one line for each, in the same order: the claims as
// JSON, or "refused: " and why.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"snippets/verify"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		audience, token, _ := strings.Cut(lines.Text(), " ")
		verified, err := verify.Verify(context.Background(), token, audience)
		if err != nil {
			fmt.Println("refused:", strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		var claims json.RawMessage
		if err := verified.Claims(&claims); err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(claims))
	}
	if err := lines.Err(); err != nil {
		log.Fatal(err)
	}
}
