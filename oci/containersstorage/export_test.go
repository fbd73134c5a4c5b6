package containersstorage

import "testing"

// SetSystem replaces the paths of the system for one test.
func SetSystem(t *testing.T, graphRoot string, configs ...string) {
	oldRoot, oldConfigs := defaultGraphRoot, systemConfigs
	defaultGraphRoot, systemConfigs = graphRoot, configs
	t.Cleanup(func() { defaultGraphRoot, systemConfigs = oldRoot, oldConfigs })
}
