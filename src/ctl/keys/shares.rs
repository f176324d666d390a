//! The identity of a backup, cut into shares of which some are enough (Shamir's scheme, by the library `blahaj`).
//!
//! The library answers with a wrong secret when a share is wrong; so each share names its set, which commits to every share of it by
//! digest, and what comes out must be the identity of the recipient that the set names. Must never say less than which share is wrong.
//!
//! A share is lines of text: `greffier share 1` · `set` (SHA-256 of all that the shares have in common) · `share I of N, any K` ·
//! `recipient` · `digest` of each of the N values, in order · `value`, base64.

use std::path::{Path, PathBuf};

use blahaj::{Share as Point, Sharks};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::ctl::args::Split;

const FIRST_LINE: &str = "greffier share 1";
/// The longest share that is read.
const MAX_SHARE_BYTES: usize = 65_536;

/// A share as read, consistent in itself.
struct Share {
    path: PathBuf,
    set: String,
    number: u8,
    split: Split,
    recipient: String,
    value: Zeroizing<Vec<u8>>,
}

/// What all shares of a set have in common; its digest is the name of the set.
fn common(split: Split, recipient: &str, digests: &[String]) -> String {
    let mut text = format!("any {} of {}\nrecipient {recipient}\n", split.any, split.of);
    for digest in digests {
        text += &format!("digest {digest}\n");
    }
    text
}

fn digest(text: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(text))
}

/// Cuts `secret`. The text of each share, in order.
pub fn cut(secret: &str, recipient: &str, split: Split) -> Result<Vec<Zeroizing<String>>, String> {
    let points = Sharks(split.any).dealer(secret.as_bytes()).take(usize::from(split.of));
    let values: Vec<_> =
        points.map(|point| Zeroizing::new(BASE64.encode(&Zeroizing::new(Vec::from(&point))))).collect();
    let digests: Vec<_> = values.iter().map(|value| digest(value.as_bytes())).collect();
    let common = common(split, recipient, &digests);
    let set = digest(common.as_bytes());
    let lines: String = digests.iter().map(|digest| format!("digest {digest}\n")).collect();
    let texts = values.iter().zip(1u8..).map(|(value, number)| {
        Zeroizing::new(format!(
            "{FIRST_LINE}\nset {set}\nshare {number} of {}, any {}\nrecipient {recipient}\n{lines}value {}\n",
            split.of, split.any, **value
        ))
    });
    let texts: Vec<_> = texts.collect();
    // Proved before anything is sealed to it: the first and the last shares give the secret back.
    let read = |text: &Zeroizing<String>| parse(Path::new(""), text);
    let shares: Vec<Share> = texts.iter().filter_map(read).collect();
    let enough = usize::from(split.any);
    for some in [shares.get(..enough), shares.get(shares.len().saturating_sub(enough)..)] {
        let same = some.and_then(|some| recombine(some, split)).is_some_and(|again| *again == *secret);
        if !same {
            return Err("The shares do not give back what was cut; nothing was written.".into());
        }
    }
    Ok(texts)
}

/// Reads the share files and gives the identity, as text; else which share is wrong, doubled or missing.
pub fn combine(paths: &[PathBuf]) -> Result<Zeroizing<String>, String> {
    let shares = paths.iter().map(|path| read(path)).collect::<Result<Vec<Share>, String>>()?;
    let votes = |set: &str| shares.iter().filter(|share| share.set == set).count();
    let Some(first) = shares.iter().max_by_key(|share| votes(&share.set)) else {
        return Err("Name the shares with --share.".into());
    };
    let (split, set) = (first.split, &first.set);
    if let Some(other) = shares.iter().find(|share| share.set != *set) {
        return Err(format!(
            "{} belongs to another set than {}: shares of one backup open no other.",
            other.path.display(),
            first.path.display()
        ));
    }
    for (i, share) in shares.iter().enumerate() {
        if let Some(twin) = shares.iter().take(i).find(|twin| twin.number == share.number) {
            let (twin, share) = (twin.path.display(), share.path.display());
            return Err(format!(
                "{twin} and {share} are the same share, number {}.",
                first_number(&shares, i)
            ));
        }
    }
    let missing = usize::from(split.any).saturating_sub(shares.len());
    if missing > 0 {
        let others = (1..=split.of).filter(|number| shares.iter().all(|share| share.number != *number));
        let others: Vec<String> = others.map(|number| number.to_string()).collect();
        return Err(format!(
            "{} of {} shares are needed and {} given: {missing} more of number {} is missing.",
            split.any,
            split.of,
            shares.len(),
            others.join(", ")
        ));
    }
    let secret = recombine(&shares, split).ok_or("The shares do not fit together.")?;
    let identity = secret.parse::<age::x25519::Identity>();
    match identity {
        Ok(identity) if identity.to_public().to_string() == first.recipient => Ok(secret),
        _ => Err("The shares fit together, but do not give the identity that they name.".into()),
    }
}

fn first_number(shares: &[Share], i: usize) -> u8 {
    shares.get(i).map_or(0, |share| share.number)
}

fn recombine(shares: &[Share], split: Split) -> Option<Zeroizing<String>> {
    let points: Vec<Point> =
        shares.iter().filter_map(|share| Point::try_from(share.value.as_slice()).ok()).collect();
    let secret = Zeroizing::new(Sharks(split.any).recover(points.iter()).ok()?);
    std::str::from_utf8(&secret).ok().map(|text| Zeroizing::new(text.to_owned()))
}

fn read(path: &Path) -> Result<Share, String> {
    use std::io::Read as _;
    let file =
        std::fs::File::open(path).map_err(|error| format!("{} cannot be read: {error}.", path.display()))?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_SHARE_BYTES));
    file.take(MAX_SHARE_BYTES as u64)
        .read_to_string(&mut text)
        .map_err(|error| format!("{} cannot be read: {error}.", path.display()))?;
    parse(path, &text).ok_or_else(|| {
        format!(
            "{} is not a share, or was changed since it was written; ask its holder for another copy.",
            path.display()
        )
    })
}

/// `None` when anything in it does not fit to the rest.
fn parse(path: &Path, text: &str) -> Option<Share> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    (lines.next()? == FIRST_LINE).then_some(())?;
    let set = lines.next()?.strip_prefix("set ")?.to_owned();
    let (number, rest) = lines.next()?.strip_prefix("share ")?.split_once(" of ")?;
    let (of, any) = rest.split_once(", any ")?;
    let split = format!("{any}/{of}").parse::<Split>().ok()?;
    let number = number.parse::<u8>().ok().filter(|number| (1..=split.of).contains(number))?;
    let recipient = lines.next()?.strip_prefix("recipient ")?.to_owned();
    let mut digests = Vec::new();
    for _ in 0..split.of {
        digests.push(lines.next()?.strip_prefix("digest ")?.to_owned());
    }
    let encoded = lines.next()?.strip_prefix("value ")?;
    let value = Zeroizing::new(BASE64.decode(encoded.as_bytes()).ok()?);
    let whole = lines.next().is_none()
        && digest(common(split, &recipient, &digests).as_bytes()) == set
        && digests.get(usize::from(number) - 1)? == &digest(encoded.as_bytes())
        && value.first() == Some(&number);
    whole.then(|| Share { path: path.to_owned(), set, number, split, recipient, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use age::secrecy::ExposeSecret as _;
    use proptest::prelude::*;

    fn made(split: &str) -> (tempfile::TempDir, Vec<PathBuf>, String) {
        let identity = age::x25519::Identity::generate();
        let secret = identity.to_string().expose_secret().to_owned();
        let texts = cut(&secret, &identity.to_public().to_string(), split.parse().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (1..=texts.len()).map(|n| dir.path().join(format!("s{n}"))).collect();
        for (path, text) in paths.iter().zip(&texts) {
            std::fs::write(path, text.as_bytes()).unwrap();
        }
        (dir, paths, secret)
    }

    fn pick(paths: &[PathBuf], numbers: &[usize]) -> Vec<PathBuf> {
        numbers.iter().map(|n| paths[n - 1].clone()).collect()
    }

    #[test]
    fn every_choice_of_enough_shares_gives_the_identity_and_fewer_say_what_is_missing() {
        let (_dir, paths, secret) = made("3/5");
        for a in 1..=5 {
            for b in 1..=5 {
                for c in 1..=5 {
                    if a != b && b != c && a != c {
                        assert_eq!(*combine(&pick(&paths, &[a, b, c])).unwrap(), secret);
                    }
                }
            }
        }
        assert_eq!(*combine(&paths).unwrap(), secret, "more than enough");
        let said = combine(&pick(&paths, &[4, 1])).unwrap_err();
        assert_eq!(said, "3 of 5 shares are needed and 2 given: 1 more of number 2, 3, 5 is missing.");
        assert!(combine(&[]).is_err());
    }

    #[test]
    fn a_doubled_share_and_one_of_another_set_are_named() {
        let (_dir, paths, _) = made("2/3");
        let said = combine(&pick(&paths, &[2, 2, 1])).unwrap_err();
        assert!(said.contains("s2 and") && said.contains("the same share, number 2"), "{said}");
        let (_other_dir, others, _) = made("2/3");
        let mixed = [paths[0].clone(), others[1].clone(), paths[2].clone()];
        let said = combine(&mixed).unwrap_err();
        assert!(said.starts_with(&others[1].display().to_string()) && said.contains("another set"), "{said}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_changed_share_is_named_whatever_was_changed(at in 0usize..900, to in any::<u8>()) {
            let (_dir, paths, _) = made("2/3");
            let mut bytes = std::fs::read(&paths[1]).unwrap();
            let at = at % bytes.len();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            std::fs::write(&paths[1], bytes).unwrap();
            let said = combine(&paths).unwrap_err();
            prop_assert!(said.contains("s2"), "{}", said);
        }
    }
}
