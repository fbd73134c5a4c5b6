package report_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/go-composefs/composefs/fsverity"
	"github.com/go-composefs/composefs/internal/testenv"
	"github.com/go-composefs/composefs/report"
	"github.com/go-composefs/composefs/repository"
	"github.com/go-composefs/composefs/tree"
)

// hostile is a name that would run as a script wherever a page takes it for HTML.
const hostile = `"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`

func create(t *testing.T, alg fsverity.Algorithm) *repository.Repository {
	t.Helper()
	path := filepath.Join(t.TempDir(), "repo")
	if _, err := repository.Create(path, repository.CreateOptions{Algorithm: alg, Insecure: true}); err != nil {
		t.Fatal(err)
	}
	r, err := repository.Open(path, repository.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// fill makes a repository: two images that share a file, and one that is all alone.
func fill(t *testing.T) *repository.Repository {
	t.Helper()
	r := create(t, fsverity.SHA256)
	common := strings.Repeat("common", 50_000)
	importTree(t, r, "debian:12", map[string]string{
		"usr/lib/common.so": common, "usr/lib/libc.so": strings.Repeat("c", 400_000), "usr/bin/sh": strings.Repeat("s", 90_000),
		"etc/motd": strings.Repeat("m", 3_000), "usr/share/doc/x": strings.Repeat("d", 60_000), "usr/share/" + strings.ReplaceAll(hostile, "/", "|"): strings.Repeat("h", 50_000),
	})
	importTree(t, r, "debian:11", map[string]string{"usr/lib/common.so": common, "usr/bin/sh": strings.Repeat("t", 80_000)})
	importTree(t, r, strings.ReplaceAll(hostile, "/", "|"), map[string]string{"file": strings.Repeat("alone", 30_000)})
	return r
}

func importTree(t *testing.T, r *repository.Repository, name string, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for path, content := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tx, err := r.Begin(t.Context(), repository.TransactionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Abort()
	root, err := tree.Scan(t.Context(), f, tree.ScanOptions{Sink: tx})
	if err != nil {
		t.Fatal(err)
	}
	digest, err := tx.PutTree(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.TagImage(name, digest); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// write writes the page of a repository and returns its path.
func write(t *testing.T, r *repository.Repository) string {
	t.Helper()
	p, err := report.Collect(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "report.html")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Write(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A browser shows one page and notes what it complains of.
type browser struct {
	ctx context.Context //nolint:containedctx // chromedp's browser is one

	mu         sync.Mutex
	complaints []string
}

func newBrowser(t *testing.T, page string) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(testenv.Browser(t)), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WindowSize(1200, 900),
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *log.EventEntryAdded: // violations of the content security policy are among these
			b.complaints = append(b.complaints, e.Entry.Text)
		case *runtime.EventExceptionThrown:
			b.complaints = append(b.complaints, e.ExceptionDetails.Text)
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, log.Enable, cdp.Empty{})
	}
	if err != nil {
		t.Fatal(err)
	}
	b.do(t, chromedp.Navigate((&url.URL{Scheme: "file", Path: page}).String()))
	return b
}

func (b *browser) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		t.Fatal(err)
	}
}

// eval returns what an expression is, as text.
func (b *browser) eval(t *testing.T, expression string) string {
	t.Helper()
	result, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return result
}

func (b *browser) want(t *testing.T, expression, want string) {
	t.Helper()
	if got := b.eval(t, expression); got != want {
		t.Errorf("%s\n got %s\nwant %s", expression, got, want)
	}
}

// tiles are the titles of what is in the directory that is shown.
const tiles = `[...document.querySelectorAll("#map > :not(.inner)")].map(e => e.title).join("|")`

func TestPageInABrowser(t *testing.T) {
	page := write(t, fill(t))
	b := newBrowser(t, page)
	b.want(t, `document.querySelectorAll(".images tbody tr").length`, "3")
	b.want(t, `document.querySelector(".images tbody th").innerText`, "debian:12")
	// debian:12 has common.so of debian:11, which is most of that.
	b.want(t, `[...document.querySelectorAll(".matrix td.self ~ td, .matrix td")].filter(e => e.innerText.includes("%")).map(e => e.innerText).join()`, "32 %,75 %")
	b.want(t, `document.querySelector(".matrix td[class=l7]")?.title`, "293.0 KiB")

	// The map: by a click into what is seen of a directory's directory, and back, by the keyboard too.
	const crumbs = `document.getElementById("crumbs").innerText`
	b.want(t, tiles, "usr/: 585.9 KiB, 96 %|the image itself: 24.0 KiB, 4 %|etc/: 2.9 KiB, 0 %")
	b.do(t, chromedp.Click(chromedp.CSS(`#map > button`)))
	b.want(t, crumbs, "/usr/lib/")
	b.want(t, tiles, "libc.so: 390.6 KiB, 100 %")
	b.do(t, chromedp.Click(chromedp.CSS(`input[value=s]`)))
	b.want(t, tiles, "libc.so: 390.6 KiB, 57 %|common.so: 293.0 KiB, 43 %")
	b.do(t, chromedp.Click(chromedp.CSS(`#crumbs button:nth-child(2)`)))
	b.want(t, crumbs, "/usr/")
	b.want(t, `document.activeElement.title`, "lib/: 683.6 KiB, 78 %")
	b.do(t, chromedp.KeyEvent(kb.Enter))
	b.want(t, crumbs, "/usr/lib/")
	b.do(t, chromedp.Focus(chromedp.CSS(`#crumbs button`)), chromedp.KeyEvent(kb.Enter))
	b.want(t, crumbs, "/")
	b.do(t, chromedp.KeyEvent(kb.Enter), chromedp.KeyEvent(kb.Escape))
	b.want(t, crumbs, "/")
	b.do(t, chromedp.Click(chromedp.CSS(`input[value=e]`)))
	// The tiles fill the map, and none leaves it or lies on another.
	b.want(t, `(() => {
		const box = document.getElementById("map").getBoundingClientRect();
		const all = [...document.querySelectorAll("#map > :not(.inner)")].map(e => e.getBoundingClientRect());
		const area = all.reduce((sum, r) => sum + r.width * r.height, 0) / box.width / box.height;
		const over = all.some((a, i) => all.some((b, k) => i < k && a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1));
		const out = all.some(r => r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1);
		return [area.toFixed(2), over, out];
	})()`, "1.00,false,false")
	b.do(t, chromedp.SetAttributeValue(chromedp.CSS("details"), "open", ""))
	b.want(t, `document.querySelectorAll("#map-table tbody tr").length`, "3")

	// Names are text.
	b.do(t, chromedp.SetValue(chromedp.CSS("#image"), "2"), chromedp.Evaluate[chromedp.Void](`document.getElementById("image").dispatchEvent(new Event("change"))`))
	b.want(t, tiles, "file: 146.5 KiB, 90 %|the image itself: 16.0 KiB, 10 %")
	b.want(t, `window.hacked`, "undefined")
	b.want(t, `document.querySelector("img") === null && document.querySelectorAll("script").length`, "2")
	b.want(t, `document.querySelectorAll(".images tbody th")[2].innerText`, strings.ReplaceAll(hostile, "/", "|"))

	// It has a dark side, which is as readable.
	light := b.eval(t, `getComputedStyle(document.body).backgroundColor`)
	params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, params); err != nil {
		t.Fatal(err)
	}
	if dark := b.eval(t, `getComputedStyle(document.body).backgroundColor`); dark == light {
		t.Errorf("dark and light are both %s", dark)
	}
	// It fits a narrow screen.
	b.do(t, chromedp.EmulateViewport(400, 800))
	wide := `[...document.querySelectorAll("body *")].filter(e => !e.closest(".scroll") && e.getBoundingClientRect().right > 401)`
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](wide+".length === 0", chromedp.WithPollingTimeout(5*time.Second))); err != nil {
		t.Errorf("%v: too wide: %s", err, b.eval(t, wide+".map(e => e.tagName + e.className)"))
	}
	for _, text := range b.complaints {
		t.Error("the browser says:", text)
	}
}

// What somebody inserts into the file does not run.
func TestPolicyKeepsOtherScriptsFromRunning(t *testing.T) {
	page := write(t, fill(t))
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	inserted := strings.Replace(string(data), "<main>", `<main><script>window.hacked=1</script><img src="x" onerror="window.hacked=1">`, 1)
	if err := os.WriteFile(page, []byte(inserted), 0o644); err != nil {
		t.Fatal(err)
	}
	b := newBrowser(t, page)
	b.want(t, `window.hacked`, "undefined")
	b.want(t, `document.querySelectorAll("#map > :not(.inner)").length`, "3")
	if len(b.complaints) < 2 {
		t.Errorf("the browser says only %q", b.complaints)
	}
}

func TestPageOfAnEmptyRepository(t *testing.T) {
	b := newBrowser(t, write(t, create(t, fsverity.SHA512)))
	b.want(t, `document.querySelector("main").innerText.trim()`, "There are no images.")
	for _, text := range b.complaints {
		t.Error("the browser says:", text)
	}
}
