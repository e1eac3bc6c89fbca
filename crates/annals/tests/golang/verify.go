// An independent verifier of what Annals proves, on the libraries of Go's checksum
// database (golang.org/x/mod/sumdb/note and tlog), which know nothing of Annals:
//
//	verify proof FILE VKEY           an event's proof (C2SP tlog-proof)
//	verify log DIR VKEY [EARLIER]    an exported log (C2SP tlog-tiles), and that it
//	                                 extends an earlier checkpoint
//
// Prints what it verified, or why not, and exits with 0 or 1.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	said, err := run(os.Args[1:])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(said)
}

func run(args []string) (string, error) {
	if len(args) == 3 && args[0] == "proof" {
		return proof(args[1], args[2])
	}
	if (len(args) == 3 || len(args) == 4) && args[0] == "log" {
		return log(args[1], args[2], args[3:])
	}
	return "", fmt.Errorf("usage: verify proof FILE VKEY | verify log DIR VKEY [EARLIER]")
}

// head opens a checkpoint: its signature, and its text.
func head(text []byte, vkey string) (tree tlog.Tree, err error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tree, err
	}
	opened, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tree, fmt.Errorf("checkpoint: %v", err)
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tree, fmt.Errorf("checkpoint: of another log, or cut")
	}
	if tree.N, err = strconv.ParseInt(lines[1], 10, 64); err != nil {
		return tree, err
	}
	tree.Hash, err = tlog.ParseHash(lines[2])
	return tree, err
}

// leaf is the hash of an event's entry: docs/proof.md says how it is made.
func leaf(extra []byte) (hash tlog.Hash, err error) {
	if len(extra) < sha256.Size {
		return hash, fmt.Errorf("extra: shorter than a salt")
	}
	var event struct{ Id string }
	if err := json.Unmarshal(extra[sha256.Size:], &event); err != nil {
		return hash, err
	}
	id, err := hex.DecodeString(strings.ReplaceAll(event.Id, "-", ""))
	if err != nil || len(id) != 16 {
		return hash, fmt.Errorf("extra: the event's id is no UUID")
	}
	commitment := sha256.Sum256(append([]byte("annals/leaf/v1\n"), extra...))
	entry := append([]byte{0x01}, id...)
	return tlog.RecordHash(append(entry, commitment[:]...)), nil
}

func proof(path, vkey string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	first, checkpoint, found := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(first), "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return "", fmt.Errorf("no tlog-proof")
	}
	tree, err := head(checkpoint, vkey)
	if err != nil {
		return "", err
	}
	extra, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return "", err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return "", err
	}
	var hashes tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return "", err
		}
		hashes = append(hashes, hash)
	}
	entry, err := leaf(extra)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(hashes, tree.N, tree.Hash, index, entry); err != nil {
		return "", err
	}
	return fmt.Sprintf("event %d of %d", index, tree.N), nil
}

// tile reads a tile of height 8 from where C2SP tlog-tiles puts it.
func tile(directory string, tile tlog.Tile) ([]byte, error) {
	path := fmt.Sprintf("%03d", tile.N%1000)
	for n := tile.N / 1000; n > 0; n /= 1000 {
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if tile.W < 256 {
		path = fmt.Sprintf("%s.p/%d", path, tile.W)
	}
	return os.ReadFile(filepath.Join(directory, "tile", strconv.Itoa(tile.L), path))
}

// stored are all hashes of a tree, in the order in which tlog numbers them.
type stored []tlog.Hash

func (s stored) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var hashes []tlog.Hash
	for _, index := range indexes {
		if index >= int64(len(s)) {
			return nil, fmt.Errorf("no hash %d", index)
		}
		hashes = append(hashes, s[index])
	}
	return hashes, nil
}

// grow makes the tree anew from the leaves that the tiles of level 0 hold.
func grow(directory string, size int64) (tree stored, err error) {
	var leaves []byte
	for n := int64(0); n < size; n++ {
		if n%256 == 0 {
			width := 256
			if size-n < 256 {
				width = int(size - n)
			}
			if leaves, err = tile(directory, tlog.Tile{H: 8, N: n / 256, W: width}); err != nil {
				return nil, err
			}
		}
		var leaf tlog.Hash
		copy(leaf[:], leaves[n%256*tlog.HashSize:])
		hashes, err := tlog.StoredHashesForRecordHash(n, leaf, tree)
		if err != nil {
			return nil, err
		}
		tree = append(tree, hashes...)
	}
	return tree, nil
}

func log(directory, vkey string, earlier []string) (string, error) {
	text, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	if err != nil {
		return "", err
	}
	tree, err := head(text, vkey)
	if err != nil {
		return "", err
	}
	hashes, err := grow(directory, tree.N)
	if err != nil {
		return "", err
	}
	if root, err := tlog.TreeHash(tree.N, hashes); err != nil || root != tree.Hash {
		return "", fmt.Errorf("the tiles do not lead to the signed root (%v)", err)
	}
	for level, count := 0, tree.N; count > 0; level, count = level+1, count/256 {
		for n := int64(0); n*256 < count; n++ {
			wanted := tlog.Tile{H: 8, L: level, N: n, W: 256}
			if left := count - n*256; left < 256 {
				wanted.W = int(left)
			}
			found, err := tile(directory, wanted)
			if err != nil {
				return "", err
			}
			if made, err := tlog.ReadTileData(wanted, hashes); err != nil || !bytes.Equal(made, found) {
				return "", fmt.Errorf("tile %d of level %d is not that of its leaves (%v)", n, level, err)
			}
		}
	}
	for _, path := range earlier {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		old, err := head(text, vkey)
		if err != nil {
			return "", err
		}
		steps, err := tlog.ProveTree(tree.N, old.N, hashes)
		if err != nil {
			return "", err
		}
		if err := tlog.CheckTree(steps, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("log of %d", tree.N), nil
}
