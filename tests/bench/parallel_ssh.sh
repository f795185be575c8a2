#!/bin/sh
# One ssh process and one script per host, all at once: what a good shell script would do. $1: directory of the scripts.
pids=
while read -r name role address user identity known_hosts; do
    ssh -q -o BatchMode=yes -i "$identity" -o IdentitiesOnly=yes -o UserKnownHostsFile="$known_hosts" \
        "$user@$address" 'sudo -n sh' <"$1/$name.sh" >"$1/$name.out" &
    pids="$pids $!"
done <"$1/hosts"
for pid in $pids; do wait "$pid" || exit 1; done
