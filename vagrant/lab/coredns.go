// A stand-in for CoreDNS, which Debian lacks: it really answers for the cluster's Services and forwards the
// rest, and its health and readiness are true. It takes the flags, ports and Corefile of kubeadm's Deployment;
// of the Corefile it reads only the cluster's domain. No pod records, no SRV, no PTR, no cache, no plugins.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	meta "k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	core "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

const ttl = 30

type server struct {
	domain    string
	services  core.ServiceLister
	endpoints core.EndpointsLister
	resolver  *dns.ClientConfig
	answered  uint64
}

func main() {
	corefile := flag.String("conf", "/etc/coredns/Corefile", "the Corefile")
	flag.Parse()
	config, err := rest.InClusterConfig()
	check(err)
	clients, err := kubernetes.NewForConfig(config)
	check(err)
	resolver, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	check(err)
	factory := informers.NewSharedInformerFactory(clients, 0)
	services, endpoints := factory.Core().V1().Services(), factory.Core().V1().Endpoints()
	s := &server{domain: domainOf(*corefile), services: services.Lister(), endpoints: endpoints.Lister(), resolver: resolver}
	synced := []cache.InformerSynced{services.Informer().HasSynced, endpoints.Informer().HasSynced}
	factory.Start(make(chan struct{}))

	var ready int32
	serve(":8080", "/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "OK") })
	serve(":8181", "/ready", func(w http.ResponseWriter, _ *http.Request) {
		if atomic.LoadInt32(&ready) == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	serve(":9153", "/metrics", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "coredns_dns_requests_total %d\n", atomic.LoadUint64(&s.answered))
	})
	cache.WaitForCacheSync(make(chan struct{}), synced...)
	for _, network := range []string{"udp", "tcp"} {
		listener := &dns.Server{Addr: ":53", Net: network, Handler: s, NotifyStartedFunc: func() { atomic.StoreInt32(&ready, 1) }}
		go func() { check(listener.ListenAndServe()) }()
	}
	log.Printf("the lab's stand-in for CoreDNS answers for %s", s.domain)
	select {}
}

// The first zone of the Corefile's `kubernetes` line.
func domainOf(path string) string {
	text, err := os.ReadFile(path)
	check(err)
	if found := regexp.MustCompile(`(?m)^\s*kubernetes\s+([^\s{]+)`).FindSubmatch(text); found != nil {
		return dns.Fqdn(string(found[1]))
	}
	return "cluster.local."
}

func (s *server) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	atomic.AddUint64(&s.answered, 1)
	if len(request.Question) == 1 && dns.IsSubDomain(s.domain, strings.ToLower(request.Question[0].Name)) {
		_ = w.WriteMsg(s.cluster(request))
		return
	}
	_ = w.WriteMsg(s.forward(request, w.RemoteAddr().Network()))
}

// Answers for `service.namespace.svc.<domain>` and for `pod.service.namespace.svc.<domain>` of headless Services.
func (s *server) cluster(request *dns.Msg) *dns.Msg {
	question := request.Question[0]
	answer := new(dns.Msg)
	answer.SetReply(request)
	answer.Authoritative = true
	addresses, exists := s.addresses(strings.TrimSuffix(strings.ToLower(question.Name), "."+s.domain))
	if !exists {
		answer.Rcode = dns.RcodeNameError
		return answer
	}
	for _, address := range addresses {
		if question.Qtype == dns.TypeA {
			header := dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}
			answer.Answer = append(answer.Answer, &dns.A{Hdr: header, A: net.ParseIP(address)})
		}
	}
	return answer
}

func (s *server) addresses(name string) ([]string, bool) {
	labels := strings.Split(name, ".")
	if len(labels) < 3 || len(labels) > 4 || labels[len(labels)-1] != "svc" {
		return nil, s.isParent(labels)
	}
	pod, service, namespace := "", labels[len(labels)-3], labels[len(labels)-2]
	if len(labels) == 4 {
		pod = labels[0]
	}
	found, err := s.services.Services(namespace).Get(service)
	switch {
	case err != nil:
		return nil, false
	case found.Spec.ExternalName != "":
		return nil, true
	case found.Spec.ClusterIP != "None":
		return []string{found.Spec.ClusterIP}, pod == ""
	}
	return s.behind(namespace, service, pod)
}

// A name that has names below it exists, even without addresses of its own.
func (s *server) isParent(labels []string) bool {
	if len(labels) == 1 {
		return labels[0] == "svc"
	}
	if len(labels) != 2 || labels[1] != "svc" {
		return false
	}
	services, err := s.services.Services(labels[0]).List(meta.Everything())
	return err == nil && len(services) > 0
}

func (s *server) behind(namespace, service, pod string) ([]string, bool) {
	endpoints, err := s.endpoints.Endpoints(namespace).Get(service)
	if err != nil {
		return nil, pod == ""
	}
	addresses := []string{}
	for _, subset := range endpoints.Subsets {
		for _, address := range subset.Addresses {
			if pod == "" || pod == address.Hostname {
				addresses = append(addresses, address.IP)
			}
		}
	}
	return addresses, pod == "" || len(addresses) > 0
}

func (s *server) forward(request *dns.Msg, network string) *dns.Msg {
	client := dns.Client{Net: network, Timeout: 2 * time.Second}
	for _, upstream := range s.resolver.Servers {
		if answer, _, err := client.Exchange(request, net.JoinHostPort(upstream, s.resolver.Port)); err == nil {
			return answer
		}
	}
	failed := new(dns.Msg)
	failed.SetRcode(request, dns.RcodeServerFailure)
	return failed
}

func serve(address, path string, handler http.HandlerFunc) {
	mux := http.NewServeMux()
	mux.HandleFunc(path, handler)
	go func() { check(http.ListenAndServe(address, mux)) }()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
