# The two commands of the README are `make try` and `make test`; the rest is made of the same parts.
# Run as root on Debian 12: the lab boots real hosts in namespaces.

CARGO ?= cargo
LAB   ?= lab
ON     = -i .lab/inventory.yaml
RELEASE = target/release/quorate
# What is tested has all of it; what `make try` builds has not.
ALL    = --features s3
TEST   = $(CARGO) test --locked $(ALL)
SHELL  = /bin/bash
.SHELLFLAGS = -o pipefail -c

.PHONY: try test lint bench bench-scale rehearse soak lab-parts record lab-down tools release

## A cluster on this computer: 2 load balancers, 3 masters, 1 worker, provisioned and answered through the virtual IP.
try: tools release
	$(RELEASE) lab up --name $(LAB)
	$(RELEASE) provision $(ON) --yes
	$(RELEASE) status $(ON)
	$(RELEASE) exec $(ON) --on master1 -- kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes -o wide

## Every test: unit, rendering, SSH, resume, and the lab end to end. A lab mostly waits: when its outages
## are measured, the others run beside it.
test: tools lint
	$(TEST) --no-run
	$(TEST) --test lab -- --nocapture | \
	  tests/beside.sh 'lab: the computer may be busy from here on' \
	    $(TEST) --no-fail-fast -- --nocapture --test-threads 4 --skip a_cluster_from_bare_hosts_through_failures

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked $(ALL) --all-targets -- -D warnings

## Quorate against parallel OpenSSH, a bare client, Ansible and pyinfra, on the lab of `make try`.
bench: tools release
	tests/bench/run.sh .lab/inventory.yaml

## Quorate against 10, 100 and 1,000 SSH servers on loopback with simulated hosts behind them, on slow links and broken ones.
bench-scale: release
	$(CARGO) build --locked --release --examples
	ulimit -n 16384; target/release/examples/scale

## Every fault at every remote call, and 22,500 schedules of several faults at random, 1,500 of each operation with a stacked etcd
## and with one of its own, simulated.
rehearse: release
	for operation in $$($(RELEASE) rehearse --list); do \
	  for inventory in simulated simulated-external; do \
	    case $$operation-$$inventory in upgrade-etcd-simulated) continue ;; esac; \
	    $(RELEASE) rehearse $$operation -i tests/data/$$inventory.yaml --faults every && \
	    $(RELEASE) rehearse $$operation -i tests/data/$$inventory.yaml --faults random --seeds 1500 || exit 1; \
	  done; \
	done

## The part of the lab test that `make test` leaves out: an etcd of its own, on the masters and on hosts of its own.
lab-parts: tools
	QUORATE_PART=colocated,own-hosts $(TEST) --test lab -- --nocapture

## What real hosts answer, recorded anew for the test that holds the simulated ones to it.
record: tools
	QUORATE_PART=record $(TEST) --test lab -- --nocapture

## Long repetitions: a real provision killed at twenty random moments, and everything else ten times.
soak: tools
	QUORATE_SOAK=20 QUORATE_PART=provision,backup,recover,upgrade,colocated $(TEST) --test lab -- --nocapture

lab-down:
	$(RELEASE) lab down --name $(LAB)

release:
	$(CARGO) build --locked --release

tools:
	vagrant/lab/tools.sh
