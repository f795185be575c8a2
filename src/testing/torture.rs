//! Foreign text in every bad shape: what a parser must survive.
//!
//! `QUORATE_FUZZ` says how many inputs each parser gets (default 2,000); the inputs follow from the parser's name and their
//! number, so a failure names the one that did it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// The longest input: longer ones are cut off before a parser sees them.
const LONGEST: usize = 16 * 1024;

/// What breaks parsers: ends of numbers, of text and of nesting.
const SHARP: [&[u8]; 20] = [
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"{",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"}",
    b":",
    b",",
    b"-1",
    b"18446744073709551616",
    b"-9223372036854775809",
    b"1e999",
    b"null",
    b"\xff\xfe",
    b"\xf0\x9f\x92\xa9",
    b"\x1b[2J",
    b"-----BEGIN CERTIFICATE-----\n",
    b"9999-99-99T99:99:99Z",
];

/// Gives a parser mutations of good inputs, and names the first that makes it panic.
pub(crate) fn torture(name: &str, good: &[&[u8]], parse: impl Fn(&[u8])) {
    let wanted = std::env::var("QUORATE_FUZZ").ok();
    let count: u64 = wanted.and_then(|text| text.parse().ok()).unwrap_or(2_000);
    let salt = name
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    for number in 0..count {
        let mut random = StdRng::seed_from_u64(salt.wrapping_add(number));
        let input = input(&mut random, good);
        let survived = catch_unwind(AssertUnwindSafe(|| parse(&input)));
        assert!(
            survived.is_ok(),
            "{name}: input {number} of {count}: {:?}",
            String::from_utf8_lossy(&input)
        );
    }
    println!("{name}: {count} inputs, no panic");
}

/// [`torture`] for parsers of text.
pub(crate) fn torture_text(name: &str, good: &[&str], parse: impl Fn(&str)) {
    let good: Vec<&[u8]> = good.iter().map(|text| text.as_bytes()).collect();
    torture(name, &good, |bytes| parse(&String::from_utf8_lossy(bytes)));
}

fn input(random: &mut StdRng, good: &[&[u8]]) -> Vec<u8> {
    if random.random_ratio(1, 8) {
        let length = random.random_range(0..300);
        return (0..length).map(|_| random.random()).collect();
    }
    let mut bytes = good.choose(random).copied().unwrap_or_default().to_vec();
    for _ in 0..random.random_range(1..6) {
        mutate(random, &mut bytes, good);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn mutate(random: &mut StdRng, bytes: &mut Vec<u8>, good: &[&[u8]]) {
    let from = random.random_range(0..=bytes.len());
    let to = (from + random.random_range(0..40)).min(bytes.len());
    match random.random_range(0..7) {
        0 => bytes.truncate(from),
        1 => drop(bytes.drain(from..to)),
        2 => {
            let sharp = SHARP.choose(random).copied().unwrap_or_default();
            drop(bytes.splice(from..from, sharp.iter().copied()));
        }
        3 => {
            let sharp = SHARP.choose(random).copied().unwrap_or_default();
            drop(bytes.splice(from..to, sharp.iter().copied()));
        }
        4 => {
            let again: Vec<u8> = bytes.get(from..).unwrap_or_default().to_vec();
            bytes.extend(again);
        }
        5 => {
            let other = good.choose(random).copied().unwrap_or_default();
            let tail = other.get(random.random_range(0..=other.len())..);
            bytes.truncate(from);
            bytes.extend_from_slice(tail.unwrap_or_default());
        }
        _ => {
            if let Some(byte) = bytes.get_mut(from) {
                *byte ^= 1 << random.random_range(0..8);
            }
        }
    }
}
