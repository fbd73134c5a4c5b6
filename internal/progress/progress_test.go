package progress

import "testing"

func TestNilMeterCountsNothing(t *testing.T) {
	var m *Meter
	m.Add(1, 1)
	m.Done()
}
