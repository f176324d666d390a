//! From the octets of a file to a policy, line by line.

use std::collections::BTreeMap;

use super::super::cosignature::{CosignatureError, Vkey};
use super::{Group, Key, Log, MAX_ITEMS, MAX_POLICY_BYTES, Member, Octets, TrustError, TrustPolicy, Witness};

/// What has been read so far.
#[derive(Default)]
struct Reading<'a> {
    logs: Vec<Log>,
    log_keys: BTreeMap<Vec<u8>, usize>,
    witnesses: Vec<Witness>,
    witness_keys: BTreeMap<Vec<u8>, usize>,
    groups: Vec<Group>,
    /// Witnesses and groups share one namespace. With the line that names it as a member of a group, once one does.
    names: BTreeMap<&'a [u8], (Member, Option<usize>)>,
    quorum: Option<(Option<Member>, usize)>,
}

impl TrustPolicy {
    /// Reads a policy file of at most `MAX_POLICY_BYTES`. Names and URLs are octets, so the file need not be UTF-8.
    pub fn parse(file: &[u8]) -> Result<Self, TrustError> {
        let at = |line, why: &str| TrustError { line, why: why.to_owned() };
        if file.len() > MAX_POLICY_BYTES {
            return Err(at(1, "the file is longer than 2 MiB"));
        }
        let mut reading = Reading::default();
        let mut lines = 0;
        for (line, number) in file.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            lines = number;
            let Some(line) = line.strip_suffix(b"\n") else {
                return Err(at(number, "the last line does not end in a newline: was the file cut off?"));
            };
            if let Some(bad) = line.iter().find(|byte| (**byte < b' ' && **byte != b'\t') || **byte == 0x7f) {
                let why =
                    format!("it holds the control character {bad:#04x}; only tabs and newlines are allowed");
                return Err(TrustError { line: number, why });
            }
            reading.line(line, number).map_err(|why| TrustError { line: number, why })?;
        }
        let Some((quorum, _)) = reading.quorum else {
            return Err(at(lines + 1, "there is no quorum line; write: quorum NAME, or: quorum none"));
        };
        let Reading { logs, witnesses, groups, .. } = reading;
        Ok(Self { logs, witnesses, groups, quorum })
    }
}

impl<'a> Reading<'a> {
    fn line(&mut self, line: &'a [u8], number: usize) -> Result<(), String> {
        let items: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|item| !item.is_empty()).collect();
        let Some((keyword, items)) = items.split_first().filter(|(first, _)| !first.starts_with(b"#")) else {
            return Ok(());
        };
        match (*keyword, items) {
            (b"log", [vkey]) => self.log(vkey, None, number),
            (b"log", [vkey, url]) => self.log(vkey, Some(url), number),
            (b"log", _) => Err("a log is written: log VKEY [URL]".into()),
            (b"witness", [name, vkey]) => self.witness(name, vkey, None, number),
            (b"witness", [name, vkey, url]) => self.witness(name, vkey, Some(url), number),
            (b"witness", _) => Err("a witness is written: witness NAME VKEY [URL]".into()),
            (b"group", [name, needed, members @ ..]) if !members.is_empty() => {
                self.group(name, needed, members, number)
            }
            (b"group", _) => Err("a group is written: group NAME all|any|NUMBER NAME...".into()),
            (b"quorum", [name]) => self.quorum(name, number),
            (b"quorum", _) => Err("a quorum is written: quorum NAME, or: quorum none".into()),
            (other, _) => Err(format!(
                "unknown keyword {:?}; a line begins with log, witness, group, quorum or #",
                String::from_utf8_lossy(other)
            )),
        }
    }

    fn log(&mut self, vkey: &[u8], url: Option<&&[u8]>, number: usize) -> Result<(), String> {
        full(self.logs.len(), "logs")?;
        let vkey = read_vkey(vkey)?;
        if let Some(line) = self.log_keys.insert(vkey.public.clone(), number) {
            return Err(format!("the key of this log stands in line {line} already"));
        }
        self.logs.push(Log { key: supported((&vkey).try_into(), &vkey)?, url: url.map(|url| octets(url)) });
        Ok(())
    }

    fn witness(
        &mut self,
        name: &'a [u8],
        vkey: &[u8],
        url: Option<&&[u8]>,
        number: usize,
    ) -> Result<(), String> {
        full(self.witnesses.len(), "witnesses")?;
        let vkey = read_vkey(vkey)?;
        if let Some(line) = self.witness_keys.insert(vkey.public.clone(), number) {
            return Err(format!("the key of this witness stands in line {line} already"));
        }
        let key = supported((&vkey).try_into(), &vkey)?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: octets(name), key, url: url.map(|url| octets(url)) });
        Ok(())
    }

    fn group(
        &mut self,
        name: &'a [u8],
        needed: &[u8],
        members: &[&'a [u8]],
        number: usize,
    ) -> Result<(), String> {
        full(self.groups.len(), "groups")?;
        let needed =
            match needed {
                b"all" => members.len(),
                b"any" => 1,
                digits => decimal(digits).filter(|needed| (1..=members.len()).contains(needed)).ok_or_else(
                    || format!("a group of {} needs all, any, or a number from 1 to that", members.len()),
                )?,
            };
        let mut found = Vec::new();
        for member in members {
            let shown = String::from_utf8_lossy(member);
            if *member == b"none" {
                return Err("none can only be the quorum, not a member of a group".into());
            }
            let (id, group) = self.names.get_mut(*member).ok_or_else(|| {
                format!("{shown:?} is not defined; a member is a witness or group of a line above")
            })?;
            match group.replace(number) {
                Some(line) if line == number => return Err(format!("{shown:?} is listed twice")),
                Some(line) => {
                    return Err(format!("{shown:?} is a member of the group in line {line} already"));
                }
                None => found.push(*id),
            }
        }
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { name: octets(name), needed, members: found });
        Ok(())
    }

    fn quorum(&mut self, name: &[u8], number: usize) -> Result<(), String> {
        if let Some((_, line)) = self.quorum {
            return Err(format!("the quorum stands in line {line} already"));
        }
        let member = match name {
            b"none" => None,
            name => Some(self.names.get(name).map(|(id, _)| *id).ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                format!("{name:?} is not defined; the quorum is a witness or group of a line above, or none")
            })?),
        };
        self.quorum = Some((member, number));
        Ok(())
    }

    fn define(&mut self, name: &'a [u8], id: Member) -> Result<(), String> {
        let shown = String::from_utf8_lossy(name);
        if name == b"none" {
            return Err("the name none is taken: it stands for a quorum of nobody".into());
        }
        match self.names.insert(name, (id, None)) {
            None => Ok(()),
            Some(_) => Err(format!("the name {shown:?} is defined above already")),
        }
    }
}

fn full(count: usize, what: &str) -> Result<(), String> {
    if count < MAX_ITEMS { Ok(()) } else { Err(format!("more than {MAX_ITEMS} {what}")) }
}

fn read_vkey(item: &[u8]) -> Result<Vkey, String> {
    let text = std::str::from_utf8(item).map_err(|_| "the key is not UTF-8".to_owned())?;
    text.parse::<Vkey>().map_err(|error| error.to_string())
}

/// A key of a known type that is not checked here is no mistake in the policy; one of an unfit type is.
fn supported<K>(key: Result<K, CosignatureError>, vkey: &Vkey) -> Result<Key<K>, String> {
    match key {
        Ok(key) => Ok(Key::Supported(key)),
        Err(error @ CosignatureError::NotSupported { .. }) => {
            Ok(Key::NotSupported { name: vkey.name.clone(), why: error.to_string() })
        }
        Err(error) => Err(error.to_string()),
    }
}

fn octets(bytes: &[u8]) -> Octets {
    Octets(bytes.into())
}

/// Digits and nothing else.
fn decimal(digits: &[u8]) -> Option<usize> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}
