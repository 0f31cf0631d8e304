package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"metallb.io/operator/api/v1beta1"
	"metallb.io/operator/internal/bgp"
)

const kindCommunity = "Community"

// maxCommunities of one kind are what a path attribute with a length of one byte can hold (RFC 4271, section 4.3).
const maxCommunities = 63

// alias is a community that has a name.
type alias struct {
	value bgp.Community
	of    Source
}

// aliases collects the names of communities; of two that are equal the younger is dropped.
func (c *compiler) aliases(in []v1beta1.Community) {
	sorted := make([]*v1beta1.Community, len(in))
	for i := range in {
		sorted[i] = &in[i]
	}
	ageOf := func(r *v1beta1.Community) age {
		return c.age(Source{Kind: kindCommunity, Name: r.Name}, r.CreationTimestamp)
	}
	slices.SortFunc(sorted, func(a, b *v1beta1.Community) int { return compareAges(ageOf(a), ageOf(b)) })
	for _, r := range sorted {
		source := Source{Kind: kindCommunity, Name: r.Name}
		for i, a := range r.Spec.Communities {
			c.alias(source, field.NewPath("spec", "communities").Index(i), a)
		}
	}
	for name := range c.communities {
		c.communityNames = append(c.communityNames, name)
	}
	slices.Sort(c.communityNames)
}

func (c *compiler) alias(source Source, at *field.Path, a v1beta1.CommunityAlias) {
	nameAt := at.Child("name")
	older, taken := c.communities[a.Name]
	good := false
	switch {
	case a.Name == "":
		c.errors(source, field.Required(nameAt, "write the name by which BGPAdvertisements find the community"))
	case strings.Contains(a.Name, ":"):
		c.errors(source, field.Invalid(nameAt, a.Name, "reads like a community itself, which a BGPAdvertisement may write without an alias: choose a name without a colon"))
	case taken && older.of == source:
		e := field.Duplicate(nameAt, a.Name)
		e.Detail = "an entry above has this name already: give this one another, or remove it"
		c.errors(source, e)
	case taken:
		e := field.Duplicate(nameAt, a.Name)
		e.Detail = c.before(older.of, source) + ", has this name already: give this one another, or remove it"
		c.errors(source, e)
	default:
		good = true
	}
	value, err := bgp.ParseCommunity(a.Value)
	switch {
	case err != nil:
		c.errors(source, field.Invalid(at.Child("value"), a.Value, err.Error()))
	case good:
		c.communities[a.Name] = alias{value, source}
	}
}

// useCommunities resolves literals and aliases, without what is said twice, sorted as written. With one that is wrong or
// not known the list is not to be used, because a route without its community may go where it must not.
func (c *compiler) useCommunities(source Source, at *field.Path, in []string) (out []bgp.Community, ok bool) {
	ok = true
	plain, large := 0, 0
	for i, text := range in {
		value, known, err := c.community(text)
		switch {
		case text == "":
			c.errors(source, field.Required(at.Index(i), "write a community or the alias of one, or remove the entry"))
			ok = false
		case slices.Contains(in[:i], text):
			c.errors(source, twice(at.Index(i), text))
		case err != nil:
			c.errors(source, field.Invalid(at.Index(i), text, err.Error()))
			ok = false
		case !known:
			c.warnings(source, missing(at.Index(i), text, "no Community has an alias of this name, so that nothing is announced by this until it is there",
				c.communityNames, "add the alias to a Community"))
			ok = false
		case !slices.Contains(out, value):
			out = append(out, value)
			if value.Large {
				large++
			} else {
				plain++
			}
		}
	}
	for _, n := range []struct {
		count int
		what  string
	}{{plain, "communities"}, {large, "large communities"}} {
		if n.count > maxCommunities {
			e := field.TooMany(at, n.count, maxCommunities)
			e.Detail = fmt.Sprintf("a route can carry %d %s: remove some", maxCommunities, n.what)
			c.errors(source, e)
			ok = false
		}
	}
	slices.SortFunc(out, func(a, b bgp.Community) int { return cmp.Compare(a.String(), b.String()) })
	return out, ok
}

func (c *compiler) community(text string) (value bgp.Community, known bool, err error) {
	if strings.Contains(text, ":") {
		value, err = bgp.ParseCommunity(text)
		return value, err == nil, err
	}
	a, known := c.communities[text]
	return a.value, known, nil
}
