package demo

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime"

	"github.com/coatcheck/session"
	"github.com/coatcheck/session/cmd/sessionctl/internal/dotenv"
	"github.com/coatcheck/session/cmd/sessionctl/internal/secret"
)

// secretVariable is where the secret stands, in the environment or the file.
const secretVariable = "SESSION_SECRET"

// findSecrets returns the secrets and says where they are from: the environment,
// which takes precedence, or the .env file, which gets a fresh one if it has
// none.
func findSecrets(path string, log *slog.Logger) (secrets []session.Secret, from string, err error) {
	if os.Getenv(secretVariable) != "" {
		return session.SecretsFromEnv(secretVariable), secretVariable + " in the environment", nil
	}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		made, err := createSecret(path)
		return made, path + ", where it was just made", err
	case err != nil:
		return nil, "", fmt.Errorf("the secret cannot be read: %w; choose another file with -env", err)
	}
	warnIfOpen(path, log)
	variables, err := dotenv.Parse(text)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	for _, v := range variables {
		if v.Name != secretVariable {
			continue
		}
		secrets = session.ParseSecrets(v.Value)
		if len(secrets) == 0 {
			return nil, "", fmt.Errorf("%s: line %d: %s is empty; remove the line to get a fresh secret, or put there what `sessionctl secret` prints", path, v.Line, secretVariable)
		}
		return secrets, fmt.Sprintf("%s, line %d", path, v.Line), nil
	}
	made, err := appendSecret(path, text)
	return made, path + ", where it was just made", err
}

func createSecret(path string) ([]session.Secret, error) {
	// With O_EXCL: if somebody else has just made the file, theirs is not lost.
	return writeSecret(path, os.O_CREATE|os.O_EXCL, "# The demo of sessionctl signs its cookies with this secret. Keep it to yourself.\n")
}

// appendSecret puts a line at the end of the file and leaves the others alone.
func appendSecret(path string, text []byte) ([]session.Secret, error) {
	before := ""
	if len(text) > 0 && text[len(text)-1] != '\n' {
		before = "\n"
	}
	return writeSecret(path, os.O_APPEND, before)
}

func writeSecret(path string, flag int, before string) ([]session.Secret, error) {
	made := secret.New()
	f, err := os.OpenFile(path, os.O_WRONLY|flag, 0o600)
	if err == nil {
		_, err = f.WriteString(before + secretVariable + "=" + made + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("the secret cannot be kept: %w; choose another file with -env, or set %s in the environment", err, secretVariable)
	}
	return []session.Secret{session.Secret(made)}, nil
}

func warnIfOpen(path string, log *slog.Logger) {
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		log.Warn("other users of this machine can get at the secret; run chmod 600 "+path, "mode", info.Mode().Perm().String())
	}
}
