// Package legacy keeps resources in step with the ConfigMap "config" that MetalLB was configured by up to version 0.12.
// It runs on the working replica of the controller. What the text means is internal/legacy's; here is which resource is
// whose, and in which order changes are made.
//
// A resource made here carries a label, an annotation with the entry it was made of, and the ConfigMap as its owner. Only
// such a resource is ever changed or deleted. Who removes the label has taken the resource over: it is left alone from
// then on, and outlives the ConfigMap. A text with an error changes nothing.
package legacy

import "metallb.io/operator/internal/legacy"

const (
	// Label marks what was made of the ConfigMap; its value is the ConfigMap's name.
	Label = "metallb.io/legacy-config"
	// Annotation names the entry of the text, for instance address-pools[name=default].
	Annotation = "metallb.io/legacy-key"
	// FieldOwner is by whom fields are managed.
	FieldOwner = "metallb-legacy"
)

// configMap is the name of the ConfigMap.
const configMap = legacy.ConfigMapName

// Reasons of the events on the ConfigMap.
const (
	// reasonConverted: Normal, resources were made of it for the first time.
	reasonConverted = "Converted"
	// reasonInvalid: Warning, something is wrong with it.
	reasonInvalid = "InvalidConfiguration"
	// reasonWarning: Warning, it is used but not all of it means what it says.
	reasonWarning = "ConfigurationWarning"
)
