//! Members of an external etcd: what their hosts say of them, and in which state each is. Judging is pure.
//!
//! | state    | what was read                                                        | what follows                          |
//! |----------|----------------------------------------------------------------------|---------------------------------------|
//! | founding | no host is known as a member yet, or this one was listed and never ran | start, all together                   |
//! | member   | a healthy voter of the cluster                                       | nothing                               |
//! | stopped  | a member with its data that does not answer                          | start, wait                           |
//! | missing  | not listed, or without its data                                      | remove what is listed, add as learner |
//! | foreign  | data of an etcd that nobody here knows                               | refuse                                |
//! | elsewhere | a member at another peer URL than the inventory's                   | refuse                                |

use std::fmt;
use std::net::Ipv4Addr;

use camino::Utf8Path;
use serde::Serialize;

use super::ca::Ca;
use super::etcd::{MEMBERSHIP, Member, View, peer_url};
use super::plane::{Cluster, Etcd, Plane};
use super::report::{Has, Report, ask};
use crate::action::Fleet;
use crate::host::command::Script;
use crate::host::probe::{Probe, Readings};
use crate::inventory::{Inventory, Node};

/// The configuration file of a member.
pub const CONFIG: &str = "/etc/etcd/etcd.yaml";

/// Its unit, which takes the place of the package's.
pub const UNIT_FILE: &str = "/etc/systemd/system/etcd.service";

/// The unit's name.
pub const UNIT: &str = "etcd";

/// The certificate of etcd's CA.
pub const CA: &str = "/etc/etcd/pki/ca.crt";

/// Its key, which all members hold, so that any of them can give another one its certificates.
pub const CA_KEY: &str = "/etc/etcd/pki/ca.key";

/// Mark of a founding of quorate that has not ended well.
pub const FOUNDING: &str = "/etc/etcd/founding";

/// Mark of an addition of quorate that has not ended well, with what the member begins with.
pub const JOINING: &str = "/etc/etcd/joining";

const BODY: &str = concat!(
    r#"
pki=/etc/etcd/pki config=/etc/etcd/etcd.yaml
data=$(sed -n 's/^data-dir: *"\(.*\)"$/\1/p' $config 2>/dev/null)
if [ -n "$data" ] && [ -e "$data/member" ]; then echo "has etcd-data"; fi
if [ -n "$data" ] && [ -e "$data/member/quorate-left-behind" ]; then
    read -r left <"$data/member/quorate-left-behind"
    echo "etcd-left $left"
fi
echo "clock $(date +%s)"
[ ! -e /etc/machine-id ] || read -r machine </etc/machine-id
echo "machine ${machine:-}"
"#,
    ask!(),
    r#"if ! command -v curl >/dev/null 2>&1; then
    echo "has no-curl"
    exit 0
fi
if [ -e $config ] && [ -e $pki/healthcheck-client.crt ]; then
    certificates="--cacert $pki/ca.crt --cert $pki/healthcheck-client.crt --key $pki/healthcheck-client.key"
    etcd=https://127.0.0.1:2379/v3
    ask $(key etcd-status) $certificates -d '{}' $etcd/maintenance/status \
        --next $(key etcd-members) $certificates -d '{}' $etcd/cluster/member/list \
        --next $(key etcd-health) http://127.0.0.1:2381/health
else
    echo "etcd-status absent"
fi
exit 0
"#
);

/// The probe of a member's report.
#[must_use]
pub fn script() -> Script {
    Script::new("etcd-report", BODY)
}

/// Everything that is read of a member's host to judge it; equal for all actions, so it is read once.
#[must_use]
pub fn probes() -> Vec<Probe> {
    vec![
        Probe::Script(script()),
        Probe::File(MEMBERSHIP.into()),
        Probe::File(JOINING.into()),
        Probe::File(CA.into()),
        Probe::Digest(CA_KEY.into()),
        Probe::Digest(FOUNDING.into()),
    ]
}

/// How a member begins: etcd looks at it until the member has data, and it is kept as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Beginning {
    /// `new` or `existing`.
    pub state: String,
    /// `name=peer-url,…` of all members at that time.
    pub cluster: String,
}

impl Beginning {
    /// With all members that the inventory has.
    #[must_use]
    pub fn new(inventory: &Inventory) -> Self {
        let entries = inventory.etcd_places();
        let entries = entries
            .iter()
            .map(|place| entry(&place.node.name, &place.peer_url()));
        Self {
            state: "new".to_owned(),
            cluster: entries.collect::<Vec<_>>().join(","),
        }
    }

    /// Beside the members of a living cluster, in which `node` is listed but has not started.
    #[must_use]
    pub fn existing(members: &[Member], name: &str, own: Ipv4Addr) -> Self {
        let entries = members.iter().flat_map(|member| {
            let name = if member.is_at(own) {
                name
            } else {
                &member.name
            };
            member.peer_urls.iter().map(move |url| entry(name, url))
        });
        Self {
            state: "existing".to_owned(),
            cluster: entries.collect::<Vec<_>>().join(","),
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (state, cluster) = text.trim().split_once('\n')?;
        ["new", "existing"].contains(&state).then(|| Self {
            state: state.to_owned(),
            cluster: cluster.trim().to_owned(),
        })
    }

    /// What has to be read to know it.
    #[must_use]
    pub fn probes() -> Vec<Probe> {
        vec![Probe::File(MEMBERSHIP.into()), Probe::File(JOINING.into())]
    }

    /// What a host's marks say of its member's beginning.
    #[must_use]
    pub fn read(readings: &Readings) -> Option<Self> {
        let marks = [JOINING, MEMBERSHIP];
        marks.into_iter().find_map(|mark| read_mark(readings, mark))
    }

    /// Whether the host's member joins and is not known to be a voter.
    #[must_use]
    pub fn is_under_way(readings: &Readings) -> bool {
        read_mark(readings, JOINING).is_some()
    }
}

fn entry(name: &str, url: &str) -> String {
    format!("{name}={url}")
}

fn read_mark(readings: &Readings, mark: &str) -> Option<Beginning> {
    let file = readings.file(Utf8Path::new(mark)).ok()?;
    Beginning::parse(file.text()?)
}

impl fmt::Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.state, self.cluster)
    }
}

/// A member's host, as read.
#[derive(Debug, Clone)]
pub struct Seat<'a> {
    /// What the inventory says of it.
    pub node: &'a Node,
    /// Where the other members reach it.
    pub peer_address: Ipv4Addr,
    /// What its etcd answers, and whether it has data.
    pub report: Report,
    /// How it became a member, once it is one.
    pub membership: Option<Beginning>,
    /// How it is becoming one, while it is added.
    pub joining: Option<Beginning>,
    /// Whether a founding was begun on it and has not ended well.
    pub is_founding: bool,
    /// etcd's CA, if it holds certificate and key.
    pub ca: Option<Ca>,
    /// What its etcd says.
    pub etcd: Option<View>,
}

impl<'a> Seat<'a> {
    /// Reads a member's host; `None` if it was not read or is none.
    #[must_use]
    pub fn read(node: &'a Node, readings: &Readings) -> Option<Self> {
        let seat = node.etcd?;
        let output = readings.script(&script()).ok()?;
        let report = Report::parse(&output.stdout);
        let is_there = |path: &str| {
            let file = readings.file(Utf8Path::new(path));
            file.is_ok_and(|file| file.present().is_some())
        };
        let certificate = readings.file(Utf8Path::new(CA)).ok();
        let ca = certificate.and_then(|file| Ca::parse(file.text()?));
        Some(Self {
            node,
            peer_address: seat.peer_address,
            membership: read_mark(readings, MEMBERSHIP),
            joining: read_mark(readings, JOINING),
            is_founding: is_there(FOUNDING),
            ca: ca.filter(|_| is_there(CA_KEY)),
            etcd: View::of(&report),
            report,
        })
    }

    /// Whether there is data in its directory.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.report.has(Has::EtcdData)
    }

    /// Whether its etcd serves data that a restore has left behind.
    #[must_use]
    pub fn is_left_behind(&self, cluster: &Cluster) -> bool {
        let view = self.etcd.as_ref();
        view.is_some_and(|view| view.is_of(&cluster.left))
    }

    /// Its peer URL.
    #[must_use]
    pub fn peer_url(&self) -> String {
        peer_url(self.peer_address)
    }
}

/// All members' hosts of the inventory, in its order.
#[derive(Debug, Clone, Default)]
pub struct Seats<'a> {
    /// Those read.
    pub seats: Vec<Seat<'a>>,
    /// The names of those that were not.
    pub unread: Vec<&'a str>,
    /// Where the members of the inventory are reached by each other, read or not.
    pub places: Vec<Ipv4Addr>,
}

impl<'a> Seats<'a> {
    /// Puts the readings together.
    #[must_use]
    pub fn read(inventory: &'a Inventory, fleet: &Fleet) -> Self {
        let places = inventory.etcd_places().into_iter();
        let mut seats = Self {
            places: places.map(|place| place.peer_address).collect(),
            ..Self::default()
        };
        for node in inventory.nodes.iter().filter(|node| node.etcd.is_some()) {
            match Seat::read(node, fleet.of(&node.name)) {
                Some(seat) => seats.seats.push(seat),
                None => seats.unread.push(&node.name),
            }
        }
        seats
    }

    /// The seat of that host.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Seat<'a>> {
        self.seats.iter().find(|seat| seat.node.name == name)
    }

    /// Whether some host is known as a member: then the cluster was founded.
    #[must_use]
    pub fn is_founded(&self) -> bool {
        self.seats.iter().any(|seat| seat.membership.is_some())
    }

    /// etcd's CA, of the first that holds it.
    #[must_use]
    pub fn ca(&self) -> Option<(&Seat<'a>, &Ca)> {
        self.seats
            .iter()
            .find_map(|seat| Some((seat, seat.ca.as_ref()?)))
    }
}

/// The state of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeatState {
    /// It begins with the cluster.
    Founding,
    /// As it should be.
    Member,
    /// It has its data and does not answer well; why that is known.
    Stopped(String),
    /// It has to be added; why.
    Missing(String),
    /// It has the data of another etcd.
    Foreign(String),
    /// It is a member at another peer URL than the inventory's.
    Elsewhere(String),
}

impl SeatState {
    /// Judges a member among the others.
    #[must_use]
    pub fn of(own: &Seat<'_>, plane: &Plane<'_>) -> Self {
        let seats = plane.external.as_ref();
        let is_founded = seats.is_some_and(Seats::is_founded);
        let is_stranger =
            own.has_data() && own.membership.is_none() && own.joining.is_none() && !own.is_founding;
        if is_stranger {
            return Self::Foreign(format!(
                "{} has etcd data, but was never made a member of this cluster",
                own.node.name
            ));
        }
        if !is_founded {
            return Self::Founding;
        }
        let (Etcd::Living(cluster) | Etcd::NoQuorum(cluster)) = plane.etcd() else {
            return Self::silent(own);
        };
        if let Some(why) = elsewhere(own, &cluster) {
            return Self::Elsewhere(why);
        }
        if own.is_left_behind(&cluster) {
            return Self::Missing(
                "its etcd has the data that a restore has left behind".to_owned(),
            );
        }
        let entry = cluster.members.at(own.peer_address);
        if own.joining.is_some() {
            return Self::Missing("its addition did not finish".to_owned());
        }
        match entry {
            Some(entry) if own.membership.is_none() && begins_with_cluster(own, entry) => {
                Self::Founding
            }
            None => Self::Missing("etcd does not list it as a member".to_owned()),
            Some(_) if !own.has_data() => {
                Self::Missing("etcd lists it, but its data is gone".to_owned())
            }
            Some(entry) if entry.is_learner => Self::Missing("it was never promoted".to_owned()),
            Some(_) => match &own.etcd {
                None => Self::Stopped("it does not answer".to_owned()),
                Some(view) if !view.is_healthy => Self::Stopped("it has no quorum".to_owned()),
                Some(_) => Self::Member,
            },
        }
    }

    /// While no member answers: all are starting, or none will.
    fn silent(own: &Seat<'_>) -> Self {
        match (&own.membership, own.has_data()) {
            (Some(_), true) => Self::Stopped("it does not answer".to_owned()),
            (Some(_), false) => Self::Missing("its data is gone".to_owned()),
            (None, true) => Self::Founding,
            (None, false) => Self::Missing("it is no member yet".to_owned()),
        }
    }
}

/// Whether a member that is not known as one yet was listed when the cluster was founded. No learner was: its addition did not
/// finish.
fn begins_with_cluster(own: &Seat<'_>, entry: &Member) -> bool {
    own.has_data() || !(entry.is_started() || entry.is_learner)
}

/// A member that lives at another peer URL than the inventory's: taken for a new one, it would be stopped first.
fn elsewhere(own: &Seat<'_>, cluster: &Cluster) -> Option<String> {
    let view = own.etcd.as_ref()?;
    let member = cluster.members.with_id(view.member_id)?;
    let is_its = view.cluster_id == cluster.id && !member.is_at(own.peer_address);
    is_its.then(|| {
        format!(
            "{} is etcd member {} at {}, and the inventory has it at {}: a member's peer address is not changed",
            own.node.name,
            member.id,
            member.peer_urls.join(", "),
            own.peer_url()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{CLUSTER, external, list, seated, started, unstarted};
    use super::*;

    /// The kind of a state, without its words.
    fn kind(state: &SeatState) -> &'static str {
        match state {
            SeatState::Founding => "founding",
            SeatState::Member => "member",
            SeatState::Stopped(_) => "stopped",
            SeatState::Missing(_) => "missing",
            SeatState::Foreign(_) => "foreign",
            SeatState::Elsewhere(_) => "elsewhere",
        }
    }

    fn third(spoil: impl FnOnce(&mut Vec<Seat<'_>>)) -> &'static str {
        let inventory = external();
        let mut plane = seated(&inventory, CLUSTER);
        if let Some(seats) = &mut plane.external {
            spoil(&mut seats.seats);
        }
        let seats = plane.external.as_ref().expect("it is external");
        kind(&SeatState::of(seats.seats.last().expect("three"), &plane))
    }

    fn silent(seat: &mut Seat<'_>) {
        seat.etcd = None;
    }

    fn listing(seats: &mut [Seat<'_>], last: Option<String>) {
        let members: Vec<String> = [Some(started(1)), Some(started(2)), last]
            .into_iter()
            .flatten()
            .collect();
        for seat in seats {
            seat.report.etcd_members = list(&members);
            seat.etcd = seat.etcd.take().and_then(|_| View::of(&seat.report));
        }
    }

    #[test]
    fn what_was_read_decides_the_state() {
        assert_eq!(third(|_| {}), "member");
        assert_eq!(
            third(|seats| seats.iter_mut().rev().take(1).for_each(silent)),
            "stopped"
        );
        assert_eq!(third(|seats| seats.iter_mut().for_each(silent)), "stopped");
        let blank = |seat: &mut Seat<'_>| {
            silent(seat);
            seat.report.has.clear();
            seat.membership = None;
        };
        assert_eq!(third(|seats| seats.iter_mut().for_each(blank)), "founding");
        assert_eq!(
            third(|seats| seats.iter_mut().rev().take(1).for_each(blank)),
            "missing"
        );
        let never_started = |seats: &mut Vec<Seat<'_>>| {
            seats.iter_mut().rev().take(1).for_each(blank);
            listing(
                seats,
                Some(unstarted(3).replace(r#","isLearner":true"#, "")),
            );
        };
        assert_eq!(third(never_started), "founding");
        let added_only = |seats: &mut Vec<Seat<'_>>| {
            seats.iter_mut().rev().take(1).for_each(blank);
            listing(seats, Some(unstarted(3)));
        };
        assert_eq!(third(added_only), "missing");
        let removed = |seats: &mut Vec<Seat<'_>>| {
            seats.iter_mut().rev().take(1).for_each(silent);
            listing(seats, None);
        };
        assert_eq!(third(removed), "missing");
        let wiped = |seat: &mut Seat<'_>| {
            silent(seat);
            seat.report.has.clear();
        };
        assert_eq!(
            third(|seats| seats.iter_mut().rev().take(1).for_each(wiped)),
            "missing"
        );
        let strange = |seat: &mut Seat<'_>| seat.membership = None;
        assert_eq!(
            third(|seats| seats.iter_mut().rev().take(1).for_each(strange)),
            "foreign"
        );
    }

    #[test]
    fn a_beginning_reads_back_as_written() {
        let beginning = Beginning::new(&external());
        assert_eq!(Beginning::parse(&beginning.to_string()), Some(beginning));
        assert_eq!(Beginning::parse("old\nx"), None);
    }
}
