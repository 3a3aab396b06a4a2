// tlog checks a ledger's published directory with Go's own transparency log code (golang.org/x/mod/sumdb), which
// shares nothing with what wrote it:
//
//	tlog -key checkpoint.key.pub -origin ORIGIN [-earlier CHECKPOINT] LOG/tlog
//
// The checkpoint is signed by the key, of that origin; every tile and every entry is what its root says; each entry's
// proof of inclusion holds; and the log goes on from the earlier checkpoint.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// C2SP tlog-tiles: 256 hashes to a tile.
const height = 8

func main() {
	key := flag.String("key", "", "the log's public key, PEM")
	origin := flag.String("origin", "", "which log it must be")
	earlier := flag.String("earlier", "", "a checkpoint that was kept")
	flag.Parse()
	if flag.NArg() != 1 || *key == "" || *origin == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := check(flag.Arg(0), *key, *origin, *earlier); err != nil {
		fmt.Fprintln(os.Stderr, "NOT as it was signed:", err)
		os.Exit(1)
	}
}

func check(dir, keyFile, origin, earlier string) error {
	verifier, err := verifierOf(keyFile, origin)
	if err != nil {
		return err
	}
	tree, err := open(filepath.Join(dir, "checkpoint"), verifier, origin)
	if err != nil {
		return err
	}
	// The root, from the entries alone.
	var hashes kept
	if err := eachEntry(dir, tree.N, func(n int64, entry []byte) error {
		more, err := tlog.StoredHashes(n, entry, &hashes)
		hashes = append(hashes, more...)
		return err
	}); err != nil {
		return err
	}
	root, err := tlog.TreeHash(tree.N, &hashes)
	if err != nil {
		return err
	}
	if root != tree.Hash {
		return errors.New("the entries do not have the checkpoint's root")
	}
	tiles := tlog.NewTiles(height, 0, tree.N)
	for _, tile := range tiles {
		expected, err := tlog.ReadTileData(tile, &hashes)
		if err != nil {
			return err
		}
		found, err := os.ReadFile(tilePath(dir, tile))
		if err != nil {
			return err
		}
		if !bytes.Equal(found, expected) {
			return fmt.Errorf("%s is not what the entries make", path(tile))
		}
	}
	// The proofs, by who has the tiles and the checkpoint and no entry.
	reader := tlog.TileHashReader(tree, &tileReader{dir})
	if err := eachEntry(dir, tree.N, func(n int64, entry []byte) error {
		proof, err := tlog.ProveRecord(tree.N, n, reader)
		if err != nil {
			return err
		}
		return tlog.CheckRecord(proof, tree.N, tree.Hash, n, tlog.RecordHash(entry))
	}); err != nil {
		return err
	}
	said := ""
	if earlier != "" {
		old, err := open(earlier, verifier, origin)
		if err != nil {
			return err
		}
		if old.N > tree.N {
			return fmt.Errorf("it has %d entries, and had %d", tree.N, old.N)
		}
		proof, err := tlog.ProveTree(tree.N, old.N, reader)
		if err != nil {
			return err
		}
		if err := tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash); err != nil {
			return fmt.Errorf("it does not go on from the earlier checkpoint: %w", err)
		}
		said = fmt.Sprintf(", goes on from entry %d", old.N)
	}
	fmt.Printf("%s: %d entries in %d tiles are as they were signed%s\n", origin, tree.N, len(tiles), said)
	return nil
}

func verifierOf(file, origin string) (note.Verifier, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM", file)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s is no Ed25519 key", file)
	}
	name, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, err
	}
	return note.NewVerifier(name)
}

// open reads a signed checkpoint: origin, size, root.
func open(file string, verifier note.Verifier, origin string) (tlog.Tree, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return tlog.Tree{}, err
	}
	signed, err := note.Open(text, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("%s: %w", file, err)
	}
	// x/mod parses trees of Go's own log, whose first line differs: the rest is the same.
	first, rest, found := bytes.Cut([]byte(signed.Text), []byte("\n"))
	if !found || string(first) != origin {
		return tlog.Tree{}, fmt.Errorf("%s is of another log", file)
	}
	return tlog.ParseTree(append([]byte("go.sum database tree\n"), rest...))
}

// eachEntry gives the entries of the bundles: 256 to a file, each with its length in 2 bytes before it.
func eachEntry(dir string, size int64, each func(int64, []byte) error) error {
	const width = 1 << height
	for n := int64(0); n < size; n += width {
		tile := tlog.Tile{H: height, L: -1, N: n / width, W: int(min(width, size-n))}
		data, err := os.ReadFile(tilePath(dir, tile))
		if err != nil {
			return err
		}
		for at := n; at < n+int64(tile.W); at++ {
			if len(data) < 2 || len(data) < 2+int(binary.BigEndian.Uint16(data)) {
				return fmt.Errorf("%s ends before its entries do", path(tile))
			}
			length := int(binary.BigEndian.Uint16(data))
			if err := each(at, data[2:2+length]); err != nil {
				return err
			}
			data = data[2+length:]
		}
		if len(data) != 0 {
			return fmt.Errorf("%s holds more than its entries", path(tile))
		}
	}
	return nil
}

// path is the C2SP one, which leaves out the height that Go's log has in it.
func path(tile tlog.Tile) string {
	return "tile" + tile.Path()[len("tile/8"):]
}

func tilePath(dir string, tile tlog.Tile) string {
	path := path(tile)
	if tile.L == -1 {
		path = "tile/entries" + path[len("tile/data"):]
	}
	return filepath.Join(dir, filepath.FromSlash(path))
}

type tileReader struct{ dir string }

func (r *tileReader) Height() int { return height }

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		data, err := os.ReadFile(tilePath(r.dir, tile))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (r *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

// kept is hashes by their number in Go's order.
type kept []tlog.Hash

func (k *kept) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var all []tlog.Hash
	for _, index := range indexes {
		if index >= int64(len(*k)) {
			return nil, errors.New("a hash that is not there yet")
		}
		all = append(all, (*k)[index])
	}
	return all, nil
}
