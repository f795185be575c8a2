//! Which backups are kept. Pure.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Id;
use super::manifest::Manifest;

/// Which year and which part of it a day belongs to.
type Period = fn(Date) -> (i16, i16);

/// How many to keep; 0: no rule of that kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The newest.
    pub last: usize,
    /// The newest of each of so many days (UTC) that have one.
    pub daily: usize,
    /// The newest of each of so many ISO weeks.
    pub weekly: usize,
    /// The newest of each of so many months.
    pub monthly: usize,
}

impl Keep {
    /// Whether there is any rule.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The ids to remove of one cluster's backups. The newest is always kept: without it there would be none.
    #[must_use]
    pub fn surplus(self, backups: &[Manifest]) -> Vec<Id> {
        let mut newest_first: Vec<&Manifest> = backups.iter().collect();
        newest_first.sort_by(|one, other| (other.taken, &other.id).cmp(&(one.taken, &one.id)));
        let mut kept: BTreeSet<&Id> = newest_first
            .iter()
            .take(self.last.max(1))
            .map(|backup| &backup.id)
            .collect();
        let periods: [(usize, Period); 3] = [
            (self.daily, |date| (date.year(), date.day_of_year())),
            (self.weekly, |date| {
                let week = date.iso_week_date();
                (week.year(), week.week().into())
            }),
            (self.monthly, |date| (date.year(), date.month().into())),
        ];
        for (count, period) in periods {
            let mut seen = BTreeSet::new();
            for backup in &newest_first {
                let date = backup.taken.to_zoned(TimeZone::UTC).date();
                if seen.len() < count && seen.insert(period(date)) {
                    kept.insert(&backup.id);
                }
            }
        }
        newest_first
            .into_iter()
            .map(|backup| &backup.id)
            .filter(|id| !kept.contains(id))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::super::manifest::sample::manifest;
    use super::*;
    use proptest::prelude::*;

    /// What is left of these times.
    fn left(keep: Keep, times: &[&str]) -> Vec<String> {
        let backups: Vec<Manifest> = times.iter().map(|time| manifest(time)).collect();
        let surplus = keep.surplus(&backups);
        let mut left: Vec<String> = backups
            .iter()
            .filter(|backup| !surplus.contains(&backup.id))
            .map(|backup| backup.taken.to_string())
            .collect();
        left.sort();
        left
    }

    const TIMES: [&str; 7] = [
        "2026-09-30T23:00:00Z",
        "2026-10-31T01:00:00Z",
        "2026-10-31T23:00:00Z",
        "2026-11-19T00:00:00Z",
        "2026-11-20T06:00:00Z",
        "2026-11-20T18:00:00Z",
        "2026-11-21T00:00:00Z",
    ];

    #[test]
    fn each_rule_keeps_the_newest_of_its_periods() {
        let none = Keep::default();
        let cases: [(Keep, &[usize]); 6] = [
            (none, &[6]),
            (Keep { last: 2, ..none }, &[5, 6]),
            (Keep { daily: 2, ..none }, &[5, 6]),
            (Keep { daily: 3, ..none }, &[3, 5, 6]),
            (Keep { weekly: 2, ..none }, &[2, 6]),
            (Keep { monthly: 9, ..none }, &[0, 2, 6]),
        ];
        for (keep, expected) in cases {
            let expected: Vec<&str> = expected.iter().map(|index| TIMES[*index]).collect();
            assert_eq!(left(keep, &TIMES), expected, "{keep:?}");
        }
    }

    #[test]
    fn the_turn_of_the_year_is_in_one_week() {
        let keep = Keep {
            weekly: 1,
            ..Keep::default()
        };
        let times = ["2026-12-31T12:00:00Z", "2027-01-01T12:00:00Z"];
        assert_eq!(
            left(keep, &times),
            [times[1]],
            "both are in week 53 of 2026"
        );
    }

    proptest! {
        #[test]
        fn the_newest_always_stays(
            seconds in proptest::collection::vec(1_700_000_000_i64..1_800_000_000, 1..30),
            last in 0_usize..4, daily in 0_usize..4, weekly in 0_usize..4, monthly in 0_usize..4,
        ) {
            let times: Vec<String> = seconds.iter().map(|second| {
                jiff::Timestamp::from_second(*second).expect("in range").to_string()
            }).collect();
            let times: Vec<&str> = times.iter().map(String::as_str).collect();
            let left = left(Keep { last, daily, weekly, monthly }, &times);
            prop_assert!(left.contains(&(*times.iter().max().expect("one")).to_owned()));
            prop_assert!(left.len() >= last.min(times.len()));
        }
    }
}
