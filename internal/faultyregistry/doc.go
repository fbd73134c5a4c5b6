// Package faultyregistry makes a registry misbehave: it stands before a handler that serves one well,
// breaks its answers as planned, and keeps a log of the requests, so that tests can also count them.
//
//	s := faultyregistry.New(registry.New())
//	defer s.Close()
//	s.Plan(faultyregistry.Rule{Path: "/blobs/", Times: 2, Fault: faultyregistry.Drop(100_000)})
//
// A [Rule] says which requests a [Fault] strikes, and how often. Of several rules that are meant the
// first is used; when it is used up the next is. Requests without a rule are served well.
package faultyregistry
