package seal

import (
	"fmt"
	"strings"
)

// maxNamed is how many items are named that are refused for one reason.
const maxNamed = 8

// refusals collects why items are refused, and says each reason once: whoever is not trusted has mostly
// signed all of an image.
type refusals struct {
	list []refusal
}

type refusal struct {
	reason error
	items  []Item
}

func (r *refusals) add(i Item, reason error) {
	for at := range r.list {
		if r.list[at].reason.Error() == reason.Error() {
			r.list[at].items = append(r.list[at].items, i)
			return
		}
	}
	r.list = append(r.list, refusal{reason, []Item{i}})
}

// errors returns the reasons, in the order in which they came.
func (r *refusals) errors() []error {
	var errs []error
	for _, one := range r.list {
		names := make([]string, min(len(one.items), maxNamed))
		for i := range names {
			names[i] = one.items[i].String()
		}
		text := strings.Join(names, ", ")
		if more := len(one.items) - len(names); more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		errs = append(errs, fmt.Errorf("verify %s: %w", text, one.reason))
	}
	return errs
}
