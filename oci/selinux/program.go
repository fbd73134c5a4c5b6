package selinux

import (
	"fmt"
	"regexp/syntax"
)

// maxInsts is how many instructions all expressions may have. The specs of a distribution have about 300000.
const maxInsts = 4_000_000

// program is all expressions, as instructions for an automaton whose alphabet are bytes.
type program struct {
	insts  []inst
	starts []int32 // of the expressions

	sets  []byteSet // that instructions read
	known map[byteSet]int32

	// Bytes that no set tells apart are of one class.
	class   [256]uint8
	classes int
	// reads has for each set and class whether it is read.
	reads []bool
}

type byteSet [4]uint64

func (s *byteSet) has(b byte) bool { return s[b/64]>>(b%64)&1 != 0 }

func (s *byteSet) add(b byte) { s[b/64] |= 1 << (b % 64) }

// inst is one of syntax.Inst, with all numbers those of the whole program.
type inst struct {
	op   instOp
	out  int32
	arg  int32 // opSplit: the other way; opRead: the set
	spec int32
}

type instOp uint8

const (
	opFail  instOp = iota
	opSkip         // go on at out
	opSplit        // go on at out and at arg
	opRead         // go on at out with a byte of a set
	opBegin        // go on at out, if nothing was read
	opEnd          // go on at out, if nothing is left to be read
	opMatch
)

func newProgram() *program { return &program{known: map[byteSet]int32{}} }

// flags are those with which composefs-rs and libselinux compile expressions.
const flags = syntax.Perl | syntax.DotNL

// add adds an expression and says whether it is one for an automaton.
func (p *program) add(expression string, spec int32) (bool, error) {
	parsed, err := syntax.Parse(expression, flags)
	if err != nil {
		return false, nil //nolint:nilerr // newSlowSpec tries, and says what is wrong
	}
	compiled, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return false, nil //nolint:nilerr // the same
	}
	if len(p.insts)+len(compiled.Inst) > maxInsts {
		return false, fmt.Errorf("%w: expressions of more than %d instructions", ErrLimit, maxInsts)
	}
	base := int32(len(p.insts))
	for i := range compiled.Inst {
		in, ok := p.translate(&compiled.Inst[i], base)
		if !ok {
			p.insts = p.insts[:base]
			return false, nil
		}
		in.spec = spec
		p.insts = append(p.insts, in)
	}
	p.starts = append(p.starts, base+int32(compiled.Start))
	return true, nil
}

func (p *program) translate(from *syntax.Inst, base int32) (inst, bool) {
	in := inst{out: base + int32(from.Out)}
	switch from.Op {
	case syntax.InstAlt, syntax.InstAltMatch:
		in.op, in.arg = opSplit, base+int32(from.Arg)
	case syntax.InstCapture, syntax.InstNop:
		in.op = opSkip
	case syntax.InstFail:
		in.op = opFail
	case syntax.InstMatch:
		in.op = opMatch
	case syntax.InstEmptyWidth:
		switch syntax.EmptyOp(from.Arg) {
		case syntax.EmptyBeginText:
			in.op = opBegin
		case syntax.EmptyEndText:
			in.op = opEnd
		default:
			return in, false
		}
	default:
		in.op, in.arg = opRead, p.set(from)
	}
	return in, true
}

// set returns the number of the set of bytes that an instruction reads.
func (p *program) set(from *syntax.Inst) int32 {
	var set byteSet
	if from.Op == syntax.InstRune1 && from.Rune[0] < 256 { // nearly all are
		set.add(byte(from.Rune[0]))
	} else {
		for b := range 256 {
			if from.MatchRune(rune(b)) {
				set.add(byte(b))
			}
		}
	}
	n, ok := p.known[set]
	if !ok {
		n = int32(len(p.sets))
		p.sets = append(p.sets, set)
		p.known[set] = n
	}
	return n
}

// finish finds the classes when all expressions are there.
func (p *program) finish() {
	// Each set parts the classes that there are.
	p.classes = 1
	for i := range p.sets {
		var parted [256]int16 // the new class of the bytes of an old one that are in the set
		var out [256]bool     // an old class that has bytes outside of it
		for b := range 256 {
			if !p.sets[i].has(byte(b)) {
				out[p.class[b]] = true
			}
		}
		for b := range 256 {
			c := p.class[b]
			if !p.sets[i].has(byte(b)) || !out[c] {
				continue
			}
			if parted[c] == 0 {
				parted[c] = int16(p.classes)
				p.classes++
			}
			p.class[b] = uint8(parted[c])
		}
	}
	p.reads = make([]bool, len(p.sets)*p.classes)
	for i := range p.sets {
		for b := range 256 {
			p.reads[i*p.classes+int(p.class[b])] = p.sets[i].has(byte(b))
		}
	}
	p.known = nil
}
