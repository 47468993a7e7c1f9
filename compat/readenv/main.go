// Command readenv reads a default secret with the official SDK and prints its
// value. It needs nothing but the variables that `sesame dev --env-file` writes:
//
//	go run ./cmd/sesame dev --env-file /tmp/sesame.env     # in one terminal
//	. /tmp/sesame.env && go run ./readenv                  # in another, in compat/
package main

import (
	"fmt"
	"os"

	openapi "github.com/alibabacloud-go/darabonba-openapi/v2/client"
	kms "github.com/alibabacloud-go/kms-20160120/v3/client"
	"github.com/alibabacloud-go/tea/tea"
)

func main() {
	value, err := read("bailian!demo-api-key")
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "readenv:", err)
		os.Exit(1)
	}
	fmt.Println(value)
}

// read returns the current value of a secret.
func read(name string) (string, error) {
	ca, err := os.ReadFile(os.Getenv("SESAME_CA_FILE"))
	if err != nil {
		return "", fmt.Errorf("the server's certificate authority (SESAME_CA_FILE): %w", err)
	}
	client, err := kms.NewClient(&openapi.Config{
		Endpoint:        tea.String(os.Getenv("SESAME_ENDPOINT_HOST")),
		RegionId:        tea.String(os.Getenv("SESAME_REGION")),
		AccessKeyId:     tea.String(os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_ID")),
		AccessKeySecret: tea.String(os.Getenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET")),
		Ca:              tea.String(string(ca)),
	})
	if err != nil {
		return "", err
	}
	secret, err := client.GetSecretValue(&kms.GetSecretValueRequest{SecretName: tea.String(name)})
	if err != nil {
		return "", err
	}
	return tea.StringValue(secret.Body.SecretData), nil
}
