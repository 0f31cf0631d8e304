// Package crd holds the CustomResourceDefinitions of the API as they are generated, for programs that install them. It
// imports nothing.
package crd

import "embed"

// Bases has one CustomResourceDefinition in each of its files, bases/metallb.io_<plural>.yaml.
//
//go:embed bases/*.yaml
var Bases embed.FS
