package secret_test

import (
	"testing"

	"github.com/signerd/signerd/internal/secret"
)

func TestWhatIsDoneWithASecretIsDone(t *testing.T) {
	var sum []byte
	secret.Do(func() { sum = append(sum, 1, 2, 3) })
	if string(sum) != "\x01\x02\x03" {
		t.Errorf("it gave %v (erasing: %t)", sum, secret.Erasing)
	}
}
