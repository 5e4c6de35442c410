//go:build unix

package throwaway

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that the server runs as: this process's own, or another
// when this process is root, which PostgreSQL refuses.
type account struct {
	name     string
	uid, gid uint32
	other    bool
}

func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{name: "this user"}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return account{name: name, uid: uint32(uid), gid: uint32(gid), other: true}, nil
		}
	}
	return account{}, errors.New("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
}

// attributes start a process as the account, in a session of its own: a Ctrl-C at
// the terminal must not reach the server before its supervisor acts.
func (a account) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true}
	if a.other {
		attributes.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return attributes
}

func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// reaches tells whether another account can enter dir. Group rights do not count:
// it is started without groups but its own.
func (a account) reaches(dir string) error {
	if !a.other {
		return nil // the attempt itself will tell
	}
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		if info.Mode()&a.bit(info, 0o001) == 0 {
			return fmt.Errorf("user %s, whom root runs PostgreSQL as, cannot enter %s", a.name, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// writes tells whether the account can make and remove entries in dir.
func (a account) writes(dir string) error {
	if err := a.reaches(dir); err != nil || !a.other {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode()&a.bit(info, 0o002) == 0 {
		return fmt.Errorf("user %s, whom root runs PostgreSQL as, cannot write to %s", a.name, dir)
	}
	return nil
}

// bit shifts a right of others to the owner's place when the account owns the file.
func (a account) bit(info os.FileInfo, right os.FileMode) os.FileMode {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == a.uid {
		return right << 6
	}
	return right
}

// serverEnvironment is this process's without what changes PostgreSQL's defaults
// or the language of its messages.
func serverEnvironment() []string {
	env := []string{"LC_ALL=C"}
	for _, entry := range os.Environ() {
		if strings.HasPrefix(entry, "PG") || strings.HasPrefix(entry, "LC_") || strings.HasPrefix(entry, "LANG") {
			continue
		}
		env = append(env, entry)
	}
	return env
}
