package report

import (
	"crypto/sha256"
	_ "embed" // the page's parts
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/go-composefs/composefs/internal/bytesize"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

// page is parsed when it is first wanted: programs that link this package seldom write a report.
var page = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"size": bytesize.String, "text": text, "names": names, "times": times, "bar": bar, "percent": percent, "counted": counted,
	}).Parse(pageHTML))
})

// maxMatrix is how many images the matrix has: with more nobody reads it.
const maxMatrix = 40

// view is what the template sees.
type view struct {
	*Report
	CSS    template.CSS
	JS     template.JS
	Policy string
	Matrix [][]cell
	Rows   []Image // of the matrix
	Data   []imageData
}

// cell is a place of the matrix: of the row's image, what the column's has too.
type cell struct {
	Bytes   int64
	Percent int // of what the row's image stores
	Level   int // of colour, 0 to 9
	Self    bool
}

// imageData is what the script gets of an image.
type imageData struct {
	Label string `json:"label"`
	Root  *Node  `json:"root"`
}

// Write writes the page.
func (p *Report) Write(w io.Writer) error {
	v := view{
		Report: p, CSS: template.CSS(pageCSS), JS: template.JS(pageJS), //nolint:gosec // our own, from files
		Policy: fmt.Sprintf("default-src 'none'; style-src '%s'; script-src '%s'; base-uri 'none'; form-action 'none'",
			integrity(pageCSS), integrity(pageJS)),
		Rows: p.Images[:min(maxMatrix, len(p.Images))],
	}
	for i := range v.Rows {
		v.Matrix = append(v.Matrix, p.matrixRow(i, len(v.Rows)))
	}
	for i := range p.Images {
		img := &p.Images[i]
		img.Root.each(func(n *Node) { n.Name = text(n.Name) })
		v.Data = append(v.Data, imageData{text(img.Label()), img.Root})
	}
	if err := page().Execute(w, v); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// integrity is how a content security policy names a style or script.
func integrity(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func (p *Report) matrixRow(i, columns int) []cell {
	row := make([]cell, columns)
	for k := range row {
		c := cell{Bytes: p.Shared[i][k], Self: i == k}
		if stored := p.Images[i].Stored; stored > 0 {
			c.Percent = int(c.Bytes * 100 / stored)
		}
		if c.Bytes > 0 {
			c.Level = min(9, 1+c.Percent/12)
		}
		row[k] = c
	}
	return row
}

// each calls f with a node and all below it.
func (n *Node) each(f func(*Node)) {
	f(n)
	for _, c := range n.Children { // not deeper than maxDepth
		c.each(f)
	}
}

// text makes a name one that people can read: what is not text, or changes how text is read, is
// written as in Go.
func text(name string) string {
	for _, r := range name {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			quoted := strconv.Quote(name)
			return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
		}
	}
	return name
}

// names joins the names of an image.
func names(list []string) string {
	if len(list) == 0 {
		return "no name"
	}
	all := make([]string, len(list))
	for i, name := range list {
		all[i] = text(name)
	}
	return strings.Join(all, ", ")
}

// times says how many times less is stored than there would be without sharing.
func times(files, stored int64) string {
	if stored <= 0 {
		return "1"
	}
	return strconv.FormatFloat(float64(files)/float64(stored), 'f', 1, 64)
}

// bar returns the width of a bar, of 600 for the largest.
func bar(n, largest int64) string {
	if largest <= 0 {
		return "0"
	}
	return strconv.FormatFloat(float64(n)*600/float64(largest), 'f', 1, 64)
}

// counted says how many there are of something.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func percent(part, whole int64) int64 {
	if whole <= 0 {
		return 0
	}
	return part * 100 / whole
}

// Largest is what the largest image stores.
func (p *Report) Largest() int64 {
	if len(p.Images) == 0 {
		return 0
	}
	return p.Images[0].Stored
}

// SharedBytes is what an image stores and does not have alone.
func (i Image) SharedBytes() int64 { return i.Stored - i.Exclusive }
