// Command dns answers A queries for the names of Services, <service>.<namespace>.svc.cluster.local, over UDP on port
// 5353. Nothing else has a name. It stands in for a cluster's DNS server, which OLM needs to find the catalogs that it
// runs, and runs in a Pod whose ServiceAccount may read Services.
package main

import (
	"context"
	"log"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	domain = ".svc.cluster.local."
	// ttl of an answer, in seconds: Services of catalogs come and go.
	ttl = 5
)

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	services, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	c, err := net.ListenPacket("udp", ":5353")
	if err != nil {
		log.Fatal(err)
	}
	lookup := func(namespace, name string) (netip.Addr, bool) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		s, err := services.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return netip.Addr{}, false
		}
		ip, err := netip.ParseAddr(s.Spec.ClusterIP)
		return ip, err == nil && ip.Is4()
	}
	for {
		b := make([]byte, 1500)
		n, from, err := c.ReadFrom(b)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			reply, err := answer(b[:n], lookup)
			if err != nil {
				log.Print(err)
				return
			}
			_, _ = c.WriteTo(reply, from) // who hears nothing asks again
		}()
	}
}

// answer gives the reply to a query for one name.
func answer(query []byte, lookup func(namespace, name string) (netip.Addr, bool)) ([]byte, error) {
	var p dnsmessage.Parser
	header, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := p.Question()
	if err != nil {
		return nil, err
	}
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RCode: dnsmessage.RCodeNameError},
		Questions: []dnsmessage.Question{question},
	}
	if ip, found := find(strings.ToLower(question.Name.String()), lookup); found {
		reply.RCode = dnsmessage.RCodeSuccess
		if question.Type == dnsmessage.TypeA {
			reply.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: ttl},
				Body:   &dnsmessage.AResource{A: ip.As4()},
			}}
		}
	}
	return reply.Pack()
}

func find(name string, lookup func(namespace, name string) (netip.Addr, bool)) (netip.Addr, bool) {
	labels := strings.Split(strings.TrimSuffix(name, domain), ".")
	if !strings.HasSuffix(name, domain) || len(labels) != 2 {
		return netip.Addr{}, false
	}
	return lookup(labels[1], labels[0])
}
