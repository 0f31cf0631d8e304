package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/blang/semver/v4"
	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	"sigs.k8s.io/yaml"
)

// channelName is the channel that all versions are in.
const channelName = "stable"

// The upgrade graph follows from the files in the catalog, one for each version: each replaces the one before, and whoever
// runs any older version may come to it directly.

// setGraph writes into the ClusterServiceVersion which one it replaces, and which it may follow.
func setGraph(csv *v1alpha1.ClusterServiceVersion, catalog string) error {
	own := csv.Spec.Version.Version
	versions, err := versionsIn(catalog)
	if err != nil {
		return err
	}
	csv.Spec.Replaces = ""
	for _, v := range versions {
		if v.LT(own) {
			csv.Spec.Replaces = csvName(v)
		}
	}
	csv.Annotations["olm.skipRange"] = skipRange(own)
	return nil
}

// channel is olm.channel of a file-based catalog.
type channel struct {
	Schema  string  `json:"schema"`
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Entries []entry `json:"entries"`
}

type entry struct {
	Name      string `json:"name"`
	Replaces  string `json:"replaces,omitempty"`
	SkipRange string `json:"skipRange,omitempty"`
}

// writeChannel writes channel.yaml beside the files of the versions.
func writeChannel(catalog string) error {
	versions, err := versionsIn(catalog)
	if err != nil {
		return err
	}
	c := channel{Schema: "olm.channel", Package: packageName, Name: channelName}
	for i, v := range versions {
		e := entry{Name: csvName(v), SkipRange: skipRange(v)}
		if i > 0 {
			e.Replaces = csvName(versions[i-1])
		}
		c.Entries = append(c.Entries, e)
	}
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(catalog, "channel.yaml"), data, 0o644) //nolint:gosec // it is committed
}

// versionsIn lists the versions that the catalog has a file of, in order.
func versionsIn(catalog string) ([]semver.Version, error) {
	files, err := filepath.Glob(filepath.Join(catalog, "v*.yaml"))
	if err != nil {
		return nil, err
	}
	var all []semver.Version
	for _, file := range files {
		v, err := semver.Parse(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "v"), ".yaml"))
		if err != nil {
			return nil, fmt.Errorf("%s: the name should be that of a version, like v0.1.0.yaml: %w", file, err)
		}
		all = append(all, v)
	}
	slices.SortFunc(all, semver.Version.Compare)
	return all, nil
}

func csvName(v semver.Version) string {
	return packageName + ".v" + v.String()
}

func skipRange(v semver.Version) string {
	return ">=0.0.0-0 <" + v.String()
}
