// Package report makes a page of HTML that shows what a repository holds: what each image costs, who
// shares what with whom, and where in an image its bytes are.
//
// # Words
//
// The stored bytes of an image are those of the image itself and of the objects that it needs, each
// once. Of these the exclusive ones are those that no other image needs: so much goes with it. All
// others are shared. A file's bytes are counted at the first of its names, and equal files of an image
// at the first of them, as each is stored once; so the parts of a treemap add up to what is stored.
//
//	Collect ──► Report ──► Write ──► one file: HTML, CSS and JavaScript, nothing is loaded
//
// # Promises
//
// The page needs no network and asks for none: its content security policy allows only the one style
// and script that it has, by their digests. Names may be hostile; they are text everywhere. Everything but the
// treemaps can be read without JavaScript, and everything with a keyboard or a screen reader; light and
// dark are as the reader has them. A page stays readable and small however many files images have: of a
// directory it names what is more than a thousandth of the image, and sums up the rest.
package report
