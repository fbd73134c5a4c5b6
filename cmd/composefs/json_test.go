package main

import (
	"bufio"
	"encoding"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/go-composefs/composefs/erofs"
	"github.com/go-composefs/composefs/mount"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

var emptyFile = &tree.Inode{Mode: tree.TypeRegular}

// documentedShapes are the values that the sections of docs/json.md describe.
var documentedShapes = map[string]any{
	"build":    buildJSON{},
	"digest":   digestJSON{},
	"ls, stat": inodeJSON{},
	"objects":  objectJSON{},
	"diff":     tree.Change{Path: "\xff", Kind: tree.Changed, Fields: []tree.Field{tree.FieldSize}, Old: emptyFile, New: emptyFile},
	"check":    checkJSON{},
	"mount":    mount.State{},
	"mounts":   mount.Info{},
	"export":   exportJSON{},
	"import":   importJSON{},
	"images":   repoImageJSON{},
	"gc":       gcJSON{},
	"fsck":     fsckJSON{},
	"df":       dfJSON{},
	"why":      whyJSON{},
	"leases":   repository.LeaseInfo{},
	"stores":   storeJSON{},
	"localize": repository.Localized{},
	"streams":  streamJSON{},
	"doctor":   doctorJSON{},

	"pull, copy": pulledJSON{},
	"push":       pushedJSON{},
	"inspect":    inspectJSON{},
	"layers":     layerJSON{},
	"seal, sign": sealedJSON{},
	"verify":     verifiedJSON{},
	"delta":      deltaJSON{},
	"version":    versionJSON{},
}

// marshalers are values with every key of the types that write their JSON themselves.
var marshalers = map[reflect.Type]any{
	reflect.TypeFor[erofs.Problem](): erofs.Problem{Kind: "k", Path: "/p", Nid: 1, Offset: 1, Detail: "d", Note: true},
}

func TestEveryJSONKeyIsDocumentedAndNoOther(t *testing.T) {
	documented := documentedKeys(t)
	for section, value := range documentedShapes {
		t.Run(section, func(t *testing.T) {
			if diff := cmp.Diff(jsonKeys(t, reflect.ValueOf(value), ""), documented[section]); diff != "" {
				t.Errorf("docs/json.md (-program +page):\n%s", diff)
			}
		})
	}
	for section := range documented {
		if _, ok := documentedShapes[section]; !ok {
			t.Errorf("docs/json.md describes %q, which nothing prints", section)
		}
	}
}

// documentedKeys returns the keys in the tables of the page, by section.
func documentedKeys(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	keys := map[string][]string{}
	section := ""
	row := regexp.MustCompile("^\\| `([^`]+)` \\|")
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if title, ok := strings.CutPrefix(lines.Text(), "## "); ok {
			section = title
			keys[section] = nil
		}
		if m := row.FindStringSubmatch(lines.Text()); m != nil {
			keys[section] = append(keys[section], m[1])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for _, list := range keys {
		slices.Sort(list)
	}
	return keys
}

// jsonKeys returns the paths of all keys that a value of v's type can have as JSON.
func jsonKeys(t *testing.T, v reflect.Value, prefix string) []string {
	t.Helper()
	typ := v.Type()
	if typ.Kind() == reflect.Pointer && typ.Elem().Kind() == reflect.Struct {
		return jsonKeys(t, reflect.New(typ.Elem()).Elem(), prefix)
	}
	if sample, ok := marshalers[typ]; ok {
		v = reflect.ValueOf(sample)
	}
	var keys []string
	switch {
	case typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
	case typ.Implements(reflect.TypeFor[json.Marshaler]()):
		text, err := json.Marshal(v.Interface())
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := json.Unmarshal(text, &object); err != nil {
			t.Fatal(err)
		}
		for key := range object {
			keys = append(keys, prefix+key)
		}
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Struct:
		keys = jsonKeys(t, reflect.New(typ.Elem()).Elem(), strings.TrimSuffix(prefix, ".")+"[].")
	case typ.Kind() == reflect.Struct:
		for i := range typ.NumField() {
			field := typ.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if field.Anonymous && name == "" {
				keys = append(keys, jsonKeys(t, v.Field(i), prefix)...)
				continue
			}
			if name == "" {
				t.Errorf("%v.%s has no name of its own in JSON", typ, field.Name)
			}
			below := jsonKeys(t, v.Field(i), prefix+name+".")
			if len(below) == 0 {
				below = []string{prefix + name}
			}
			keys = append(keys, below...)
		}
	}
	slices.Sort(keys)
	return keys
}
