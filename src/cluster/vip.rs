//! Who holds the virtual IP. Pure.

use crate::action::Fleet;
use crate::inventory::{Inventory, Role};

/// Who holds the virtual IP, as the hosts' interfaces show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Nobody, and every load balancer was read.
    Nobody,
    /// Nobody that was read; a load balancer was not.
    Unknown,
    /// One host.
    One(String),
    /// Several: a split brain.
    Several(Vec<String>),
    /// Somebody else manages it.
    Foreign,
}

impl Holder {
    /// Looks at every host: a virtual IP that was left on a master is a split brain too.
    #[must_use]
    pub fn of(inventory: &Inventory, fleet: &Fleet) -> Self {
        if !inventory.vip.managed {
            return Self::Foreign;
        }
        let machine = |name: &str| fleet.of(name).machine();
        let mut holders: Vec<String> = inventory
            .nodes
            .iter()
            .filter(|node| {
                machine(&node.name).is_ok_and(|machine| machine.holds(inventory.vip.address))
            })
            .map(|node| node.name.clone())
            .collect();
        let all_read = inventory
            .with_role(Role::LoadBalancer)
            .all(|node| machine(&node.name).is_ok());
        match (holders.len(), holders.pop()) {
            (1, Some(holder)) => Self::One(holder),
            (_, Some(last)) => {
                holders.push(last);
                Self::Several(holders)
            }
            (_, None) if all_read => Self::Nobody,
            (_, None) => Self::Unknown,
        }
    }

    /// The holders.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        match self {
            Self::One(holder) => std::slice::from_ref(holder),
            Self::Several(holders) => holders,
            Self::Nobody | Self::Unknown | Self::Foreign => &[],
        }
    }

    /// The variant's name, for JSON.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Unknown => "unknown",
            Self::One(_) => "one",
            Self::Several(_) => "several",
            Self::Foreign => "foreign",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::operation::fixture::Site;

    /// Who holds it, who was not read, and what that is.
    #[test]
    fn one_holder_is_well_and_two_are_a_split_brain() {
        let several = || Holder::Several(vec!["lb1".to_owned(), "lb2".to_owned()]);
        for (holders, unread, expected) in [
            (vec!["lb2"], None, Holder::One("lb2".to_owned())),
            (vec!["lb1", "lb2"], None, several()),
            (vec![], None, Holder::Nobody),
            (vec![], Some("lb2"), Holder::Unknown),
            (vec!["lb1"], Some("lb2"), Holder::One("lb1".to_owned())),
        ] {
            let mut site = Site::new();
            let vip = site.inventory.vip.address;
            for holder in holders {
                site.machine(holder).interfaces[0].addresses.push((vip, 24));
            }
            if let Some(host) = unread {
                site.forget(host);
            }
            let holder = Holder::of(&site.inventory, &site.fleet());
            assert_eq!(holder, expected);
        }
    }
}
