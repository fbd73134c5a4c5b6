package selinux

import (
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	// maxWork is how many instructions may be followed to make states. All the names of a large system
	// need some ten million.
	maxWork = 2_000_000_000
	// maxCached is how many instructions the states that are kept may have, and maxStates how many those
	// are. Beyond it they are all forgotten.
	maxCached = 4 << 20
	maxStates = 20_000
)

// automaton runs a program. It makes states when they are needed first.
type automaton struct {
	*program
	start  *state
	states map[string]*state // by their threads
	cached int               // threads of all those

	maxCached int

	work  int64
	mark  []uint32 // the last round in which an instruction was reached
	round uint32
	stack []int32
	key   []byte
}

// state is where all expressions are after the same bytes.
type state struct {
	threads []int32  // instructions that read, or want the end, in order
	next    []*state // by class; nil: not known yet
	// best is the last spec that matches if nothing follows, noSpec or unknownSpec.
	best int32
}

const (
	noSpec      = -1
	unknownSpec = -2
)

func newAutomaton(p *program) (*automaton, error) {
	a := &automaton{program: p, states: map[string]*state{}, mark: make([]uint32, len(p.insts)), work: maxWork, maxCached: maxCached}
	a.round = 1
	var threads []int32
	for _, start := range p.starts {
		threads = a.follow(threads, start, true)
	}
	a.start = a.state(threads)
	return a, a.spend(len(threads))
}

func (a *automaton) spend(n int) error {
	if a.work -= int64(n); a.work < 0 {
		return fmt.Errorf("%w: its expressions take too long", ErrLimit)
	}
	return nil
}

// follow appends what is reached from an instruction without reading.
func (a *automaton) follow(threads []int32, from int32, begin bool) []int32 {
	a.stack = append(a.stack[:0], from)
	for len(a.stack) > 0 {
		pc := a.stack[len(a.stack)-1]
		a.stack = a.stack[:len(a.stack)-1]
		if a.mark[pc] == a.round {
			continue
		}
		a.mark[pc] = a.round
		a.work--
		switch in := &a.insts[pc]; in.op {
		case opSkip:
			a.stack = append(a.stack, in.out)
		case opSplit:
			a.stack = append(a.stack, in.out, in.arg)
		case opBegin:
			if begin {
				a.stack = append(a.stack, in.out)
			}
		case opRead, opEnd:
			threads = append(threads, pc)
		default: // opFail; opMatch comes after opEnd
		}
	}
	return threads
}

// state returns the one of these threads.
func (a *automaton) state(threads []int32) *state {
	slices.Sort(threads)
	a.key = a.key[:0]
	for _, pc := range threads {
		a.key = binary.NativeEndian.AppendUint32(a.key, uint32(pc))
	}
	if s, ok := a.states[string(a.key)]; ok {
		return s
	}
	if a.cached += len(threads); a.cached > a.maxCached || len(a.states) >= maxStates {
		for _, old := range a.states { // of which some are in use, and would hold all others
			clear(old.next)
		}
		clear(a.states)
		a.cached = len(threads)
	}
	s := &state{threads: slices.Clone(threads), next: make([]*state, a.classes), best: unknownSpec}
	a.states[string(a.key)] = s
	return s
}

// run returns the state after more bytes.
func (a *automaton) run(s *state, bytes string) (*state, error) {
	for i := range len(bytes) {
		class := a.class[bytes[i]]
		next := s.next[class]
		if next == nil {
			var err error
			if next, err = a.step(s, int(class)); err != nil {
				return nil, err
			}
			s.next[class] = next
		}
		s = next
	}
	return s, nil
}

// step makes the state after one byte.
func (a *automaton) step(s *state, class int) (*state, error) {
	if err := a.spend(len(s.threads)); err != nil {
		return nil, err
	}
	a.round++
	var threads []int32
	for _, pc := range s.threads {
		if in := &a.insts[pc]; in.op == opRead && a.reads[int(in.arg)*a.classes+class] {
			threads = a.follow(threads, in.out, false)
		}
	}
	return a.state(threads), nil
}

// match returns the last spec that matches if nothing follows, or noSpec.
func (a *automaton) match(s *state) int32 {
	if s.best != unknownSpec {
		return s.best
	}
	s.best = noSpec
	a.round++
	for _, pc := range s.threads {
		if a.insts[pc].op == opEnd {
			s.best = max(s.best, a.matchAtEnd(a.insts[pc].out))
		}
	}
	return s.best
}

// matchAtEnd returns the spec whose match is reached from an instruction, or noSpec.
func (a *automaton) matchAtEnd(from int32) int32 {
	a.stack = append(a.stack[:0], from)
	for len(a.stack) > 0 {
		pc := a.stack[len(a.stack)-1]
		a.stack = a.stack[:len(a.stack)-1]
		if a.mark[pc] == a.round {
			continue
		}
		a.mark[pc] = a.round
		switch in := &a.insts[pc]; in.op {
		case opSkip, opEnd:
			a.stack = append(a.stack, in.out)
		case opSplit:
			a.stack = append(a.stack, in.out, in.arg)
		case opMatch:
			return in.spec
		default: // nothing is left to be read
		}
	}
	return noSpec
}
