SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= v0.1.0
IMG     ?= metallb.io/metallb:$(VERSION)

# What is built from source once is kept outside the checkout, so that another clone finds it.
CACHE    ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/metallb-operator
TOOLS    := $(CACHE)/tools-$(shell cat tools/go.mod tools/go.sum | sha256sum | cut -c1-12)
OLM_TOOLS := $(CACHE)/olm-tools-$(shell cat tools/olm/go.mod tools/olm/go.sum | sha256sum | cut -c1-12)
HELM_TOOLS := $(CACHE)/helm-$(shell cat tools/helm/go.mod tools/helm/go.sum | sha256sum | cut -c1-12)
LAB       = $(CURDIR)/bin/lab
# Only what makes namespaces and sockets runs as root; Go itself builds as whoever calls make.
SUDO     := $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=CI,HOME,IMG,XDG_CACHE_HOME,LAB_CACHE,LAB_STATE,LAB_INSTANCE,KUBEBUILDER_ASSETS,KUSTOMIZE,HELM env PATH=$(PATH))
AS_ROOT  := $(if $(SUDO),-exec "$(SUDO)")
STRIPPED := -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
export IMG
export HELM ?= $(HELM_TOOLS)/helm

##@ The two commands
.PHONY: demo demo-down test
demo: lab-build image ## A real 3-node cluster on this machine, the operator on it, a Service that answers on the LAN
	@go run -C test/e2e $(AS_ROOT) ./cmd/demo up
demo-down: ## Stop what `make demo` left running
	@go run -C test/e2e $(AS_ROOT) ./cmd/demo down
test: test-unit bundle-validate test-lab test-e2e ## Every test: unit, integration with the real API server, OLM's tools, the lab, end to end on real clusters

##@ Tests, one by one
# One after the other: beside a cluster, or another one, what is measured in milliseconds fails for want of a processor. Packages
# start in the order in which they are named: the longest first.
.PHONY: test-unit test-lab test-e2e
test-unit: lab-build tools helm build-installer ## Unit tests, and integration with the real API server
	KUSTOMIZE=$(TOOLS)/kustomize KUBEBUILDER_ASSETS=$$($(LAB) assets) go test -race $(AS_ROOT) -p 3 -timeout 30m ./speaker/node ./controllers/... ./internal/bgp/gobgp ./...
	go test -C tools ./...
test-lab: lab-build ## The lab itself, and the programs beside OLM's
	go test -C test/lab $(AS_ROOT) -timeout 15m ./...
	CGO_ENABLED=0 go test -C test/olm/build -trimpath ./...
test-e2e: lab-build olm-build image tools helm build-installer ## End to end on real clusters
	@mkdir -p $(CACHE)
	go test -C test/e2e $(AS_ROOT) -v -count=1 -p 1 -timeout 30m ./... | tee $(CACHE)/test-e2e.log || \
	  { echo "== What failed said; all is in $(CACHE)/test-e2e.log"; awk -f test/failures.awk $(CACHE)/test-e2e.log; echo FAIL; exit 1; }

##@ The same code, longer
FUZZTIME ?= 5m
SOAK     ?= 20
.PHONY: soak bench fuzz mutate
soak: lab-build olm-build image tools helm build-installer ## Many more random histories, BFD on a saturated node, BGP with nodes that are lost and routers that break the rules, controllers killed 50 times, installations whose upgrade fails, taking over from MetalLB in all ways, certificates replaced, and failover, moves and what must move nothing SOAK times on the lab
	go test ./internal/ipam -run 'Histories|Order' -rounds 12000 -timeout 30m
	go test ./internal/bfd -run 'Agree|Early|Losses' -rounds 100000 -timeout 30m
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 1h ./bfd -cuts 20 -saturated 20m -judged
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 3h ./bgp -whole -cuts $(SOAK) -rollouts $(SOAK) -attacked 10m -away 1h -judged
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 1h ./kubectl -whole -idle 10m
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 1h -p 1 ./olm ./takeover -whole
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 1h ./controller -kills 50 -services 1000 -stopped 30s -away 60s
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 3h -run 'Failover|^TestMoves|KubeProxy' . -offs $(SOAK) -cuts $$((2 * $(SOAK))) -moves $(SOAK) -bars
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 3h -run 'NoAddressMoves' . -restarts $(SOAK) -rollouts $(SOAK) -saturated 20m -flapping 5m -bars
	go test -C test/e2e $(AS_ROOT) -v -count=$(SOAK) -timeout 3h -run 'Local' .
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 3h -run 'Admission' . -authorities $(SOAK)
bench: lab-build build ## Benchmarks of the allocator, the election, plans, the responders beside the kernel, the memory of a speaker, BFD, routes as BIRD hears of them, and of creation to address; fails where a bar of bench/ is missed
	go test -run '^$$' -bench . -count 5 ./internal/ipam ./internal/election ./internal/announce ./internal/l2/arp ./internal/l2/ndp
	go run ./bench/plan
	KUBEBUILDER_ASSETS=$$($(LAB) assets) go test -run '^$$' -bench . -count 3 ./controllers/service
	KUBEBUILDER_ASSETS=$$($(LAB) assets) go run ./bench/addresses -binary bin/metallb
	go run $(AS_ROOT) ./bench/bfd
	KUBEBUILDER_ASSETS=$$($(LAB) assets) go run $(AS_ROOT) ./bench/l2 -binary bin/metallb
	KUBEBUILDER_ASSETS=$$($(LAB) assets) go run $(AS_ROOT) ./bench/bgp -binary bin/metallb
mutate: ## Changes each rule of the allocator and the election once; fails where no test notices
	go run -C tools ./mutate -root .. -equivalents mutate/equivalents.txt internal/ipam internal/election
fuzz: ## Every fuzz target for FUZZTIME each
	@for target in $$(grep -rl --include='*_test.go' '^func Fuzz' api internal speaker | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$target/*_test.go | cut -c6-); do \
	    echo "== $$target $$f"; go test ./$$target -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s; done; done

##@ Development
GENERATED := api config docs/api.md bundle bundle.Dockerfile catalog charts
.PHONY: build image generate manifests verify fmt vet lint check
build: ## The binaries: bin/metallb, bin/metallb-bgp, which a speaker starts, and bin/kubectl-metallb, a plugin for kubectl
	CGO_ENABLED=0 go build $(STRIPPED) -o bin/metallb .
	CGO_ENABLED=0 go build $(STRIPPED) -o bin/metallb-bgp ./cmd/metallb-bgp
	CGO_ENABLED=0 go build $(STRIPPED) -o bin/kubectl-metallb ./cmd/kubectl-metallb
image: build packages ## The image, dist/metallb.tar (an OCI archive), from the Dockerfile
	@mkdir -p dist
	$(SUDO) buildah bud --quiet --isolation chroot --timestamp 0 -t $(IMG) .
	@rm -f dist/metallb.tar
	$(SUDO) buildah push --quiet $(IMG) oci-archive:dist/metallb.tar:$(IMG)
generate: tools ## Deep copies, CRDs, roles and docs/api.md from the types and markers in the code
	$(TOOLS)/controller-gen object paths=./api/...
	$(TOOLS)/controller-gen crd:maxDescLen=400 paths=./api/... output:crd:artifacts:config=config/crd/bases
	$(TOOLS)/controller-gen rbac:roleName=metallb-operator,fileName=operator_role.yaml paths=./controllers/metallb paths=./controllers/webhook paths=./controllers/certificate paths=./controllers/storageversion output:rbac:artifacts:config=config/rbac
	$(TOOLS)/crd-ref-docs --source-path=api --config=docs/templates/crd-ref-docs.yaml --templates-dir=docs/templates \
	  --renderer=markdown --output-path=docs/api.md --log-level=ERROR
fmt: ## gofmt
	gofmt -w $$(git ls-files '*.go')
vet: ## go vet, all modules
	go vet ./...
	go vet -C test/lab ./...
	go vet -C test/e2e ./...
	go vet -C test/olm/build ./...
	go vet -C tools ./...
	go vet -C tools/olm ./...
lint: tools ## golangci-lint, all modules
	$(TOOLS)/golangci-lint run ./...
	cd test/lab && $(TOOLS)/golangci-lint run -c ../../.golangci.yaml ./...
	cd test/e2e && $(TOOLS)/golangci-lint run -c ../../.golangci.yaml ./...
	cd test/olm/build && $(TOOLS)/golangci-lint run -c ../../../.golangci.yaml ./...
	cd tools && $(TOOLS)/golangci-lint run -c ../.golangci.yaml ./...
	cd tools/olm && $(TOOLS)/golangci-lint run -c ../../.golangci.yaml ./...
verify: generate catalog chart vet lint ## Generated files are up to date, everything is formatted, vetted and linted
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt: $$unformatted"; exit 1; }
	@git diff --exit-code -- $(GENERATED) || { echo "generated files differ: run make generate catalog chart and commit"; exit 1; }
	@untracked=$$(git ls-files --others --exclude-standard -- $(GENERATED)); [ -z "$$untracked" ] || { echo "not committed: $$untracked"; exit 1; }
	@for k in config/default config/crd; do $(TOOLS)/kustomize build $$k >/dev/null; done
	@for m in . tools tools/olm tools/helm test/lab test/e2e test/olm/build; do (cd $$m && go mod verify >/dev/null && go mod tidy -diff); done

##@ The operator as OLM installs it (docs/olm.md)
# The operator's image is IMG; by digest when it is released: IMG=registry.example.com/metallb@sha256:...
BUNDLE_IMG ?= metallb.io/metallb-operator-bundle:$(VERSION)
SCRATCH    := dist/bundle
OLM_GO     := CGO_ENABLED=0 go# with -trimpath each time: what the tools, their tests and test/olm build alike is compiled once
PACKAGE    := catalog/metallb-operator
.PHONY: bundle catalog bundle-validate olm-tools
bundle: tools olm-tools ## bundle/ and bundle.Dockerfile, from config/manifests
	$(TOOLS)/controller-gen rbac:roleName=metallb-operator,fileName=operator_role.yaml paths=./controllers/metallb paths=./controllers/webhook paths=./controllers/storageversion output:rbac:artifacts:config=config/manifests
	@rm -rf $(SCRATCH) && mkdir -p $(SCRATCH)
	cd $(SCRATCH) && $(TOOLS)/kustomize create --resources ../../config/manifests && $(TOOLS)/kustomize edit set image metallb.io/metallb=$(IMG)
	@rm -rf bundle
	$(TOOLS)/kustomize build --load-restrictor LoadRestrictionsNone $(SCRATCH) | $(OLM_TOOLS)/operator-sdk generate bundle -q --overwrite \
	  --package metallb-operator --version $(VERSION:v%=%) --channels stable --default-channel stable
	$(OLM_GO) run -C tools/olm -trimpath ./bundle finish -bundle $(CURDIR)/bundle -base $(CURDIR)/config/manifests/bases/metallb-operator.clusterserviceversion.yaml \
	  -icon $(CURDIR)/config/manifests/icon.svg -catalog $(CURDIR)/$(PACKAGE)
catalog: bundle ## catalog/: a file-based catalog with the bundle as BUNDLE_IMG beside the versions before it
	@mkdir -p $(PACKAGE)
	$(OLM_TOOLS)/opm init metallb-operator --default-channel stable --description config/manifests/package.md --icon config/manifests/icon.svg -o yaml >$(PACKAGE)/package.yaml
	$(OLM_TOOLS)/opm render bundle --migrate-level bundle-object-to-csv-metadata --alpha-image-ref-template $(BUNDLE_IMG) -o yaml >$(PACKAGE)/$(VERSION).yaml
	$(OLM_GO) run -C tools/olm -trimpath ./bundle channel -catalog $(CURDIR)/$(PACKAGE)
bundle-validate: olm-tools ## What operator-sdk, scorecard and opm say about bundle/ and catalog/
	OLM_TOOLS=$(OLM_TOOLS) $(OLM_GO) test -C tools/olm -count=1 -trimpath $(if $(SUDO),-exec "$(SUDO) OLM_TOOLS=$(OLM_TOOLS)") ./...
olm-tools: $(OLM_TOOLS)/.built ## operator-sdk, scorecard's tests and opm, built from tools/olm/go.mod
$(OLM_TOOLS)/.built:
	GOBIN=$(OLM_TOOLS) $(OLM_GO) -C tools/olm install -trimpath -tags containers_image_openpgp \
	  -ldflags "-s -w -X github.com/operator-framework/operator-sdk/internal/version.Version=$$(go -C tools/olm list -m -f '{{.Version}}' github.com/operator-framework/operator-sdk)" tool
	@touch $@

##@ The Helm chart (docs/helm.md)
CHART := charts/metallb
.PHONY: chart helm helm-test
chart: tools ## What the chart takes from config/, and its version
	$(TOOLS)/kustomize build charts >$(CHART)/files/operator.yaml
	@for f in config/crd/bases/*.yaml; do f=$${f##*/}; f=$${f%.yaml}; echo "$${f#*_}.$${f%%_*}"; done >$(CHART)/files/crds.txt
	@sed -i -e 's/^version: .*/version: $(VERSION:v%=%)/' -e 's/^appVersion: .*/appVersion: $(VERSION)/' $(CHART)/Chart.yaml
helm: $(HELM_TOOLS)/.built ## Helm, built from tools/helm/go.mod
$(HELM_TOOLS)/.built:
	GOBIN=$(HELM_TOOLS) CGO_ENABLED=0 go -C tools/helm install -trimpath -ldflags "-s -w" tool
	@touch $@
helm-test: lab-build image tools helm ## The tests of the chart alone
	KUSTOMIZE=$(TOOLS)/kustomize go test -count=1 ./charts
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 15m ./helm

##@ Deploy to the cluster of the current kubectl context
.PHONY: build-installer install uninstall
build-installer: tools ## dist/install.yaml: config/default in one file, with IMG as the image
	@mkdir -p dist/installer && rm -f dist/installer/kustomization.yaml
	cd dist/installer && $(TOOLS)/kustomize create --resources ../../config/default && $(TOOLS)/kustomize edit set image metallb.io/metallb=$(IMG)
	$(TOOLS)/kustomize build dist/installer >dist/install.yaml
install: ## CRDs and operator: kubectl apply -k config/default
	kubectl apply --server-side -k config/default
uninstall: ## Remove them again. The CRDs go too, and with them all MetalLB resources
	kubectl delete --ignore-not-found -k config/default

##@ What the above stand on
.PHONY: tools lab lab-build packages
tools: $(TOOLS)/.built ## Developer tools, built from tools/go.mod
$(TOOLS)/.built:
	GOBIN=$(TOOLS) go -C tools install tool
	@touch $@
lab: ## The lab command, bin/lab
	@go build -C test/lab -o $(LAB) ./cmd/lab
lab-build: lab packages ## Kubernetes, etcd and containerd from source, cached
	$(LAB) build
.PHONY: olm-build olm-test
olm-build: ## OLM and opm from source for their test, cached
	@go run -C test/e2e ./olm/build
olm-test: lab-build olm-build image ## The test with the real OLM alone
	go test -C test/e2e $(AS_ROOT) -v -count=1 -timeout 15m ./olm
packages: lab ## Debian packages that the lab and the build need, the missing ones only
	@missing="$$($(LAB) packages -missing -routers)"; \
	for p in buildah:buildah gcc:gcc arping:iputils-arping ndisc6:ndisc6 tcpdump:tcpdump tshark:tshark; do command -v $${p%%:*} >/dev/null || missing="$$missing $${p##*:}"; done; \
	[ -z "$${missing// /}" ] || { command -v apt-get >/dev/null || { echo "install these first (Debian's names):" $$missing; exit 1; }; \
	  echo "installing" $$missing; $(SUDO) apt-get update -qq; $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; }

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
