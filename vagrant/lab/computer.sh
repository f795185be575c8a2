#!/usr/bin/env bash
# Installs on this computer what `quorate lab` itself runs: nothing when all of it is there.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

need systemd-container iproute2 iptables openssh-client python3-minimal util-linux
