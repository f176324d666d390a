//! The machine: clock, bus, units, FUSE, swap; and the service, when it runs.

use super::{BusPolicy, Facts, Found};

/// What the unit of the service forbids itself, each with the value that it has there.
const HARDENING: [(&str, &str); 25] = [
    ("NoNewPrivileges", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("LimitCORE", "0"),
    ("MemorySwapMax", "0"),
    ("KeyringMode", "private"),
    ("DevicePolicy", "closed"),
    ("PrivateNetwork", "yes"),
    ("IPAddressDeny", "any"),
    ("RestrictAddressFamilies", "AF_UNIX"),
    ("PrivateTmp", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelTunables", "yes"),
    ("LockPersonality", "yes"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("SystemCallArchitectures", "native"),
    ("UMask", "0077"),
    ("StateDirectoryMode", "0700"),
    ("NotifyAccess", "main"),
];
/// Lists that only grow weaker when something is added to them, or when they are emptied.
const LISTS: [&str; 6] = [
    "CapabilityBoundingSet",
    "AmbientCapabilities",
    "SystemCallFilter",
    "DeviceAllow",
    "IPAddressAllow",
    "ExecStart",
];

/// The lines of a drop-in that take back what the unit forbids itself.
pub fn weakens(drop_in: &str) -> Vec<String> {
    let lines = drop_in.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '[']));
    let weak = |line: &&str| {
        let Some((key, value)) = line.split_once('=') else { return false };
        let (key, value) = (key.trim(), value.trim());
        // systemd reads these words alike.
        let value = if matches!(value, "true" | "on" | "1") { "yes" } else { value };
        if LISTS.contains(&key) {
            // A list that only forbids more takes nothing back.
            return !(key == "SystemCallFilter" && value.starts_with('~'));
        }
        HARDENING.iter().any(|(name, ours)| *name == key && *ours != value)
    };
    lines.filter(weak).map(str::to_owned).collect()
}

pub(super) fn judge(facts: &Facts, found: &mut Found) {
    let system = &facts.system;
    if system.synchronised == Some(false) {
        found.add(
            "clock-unsynchronised",
            "clock",
            "the kernel does not say that its clock is synchronised: after a jump nothing is purged until somebody confirms it",
            "run a time service such as systemd-timesyncd or chrony",
        );
    }
    if system.system_bus {
        match &system.bus_policy {
            Some(BusPolicy::Missing) => found.add(
                "bus-policy-missing",
                "org.greffier.Archive1.conf",
                "the bus has no policy file of greffier: the service cannot take its name",
                "install it again, then reload the bus",
            ),
            Some(BusPolicy::Differs(path)) => found.add(
                "bus-policy-differs",
                path.as_str(),
                "the bus policy is not the one that this version ships",
                "compare it with the shipped one: only root may own the name",
            ),
            Some(BusPolicy::Same(_)) | None => {}
        }
    }
    if system.polkit == Some((true, false)) {
        found.add(
            "polkit-absent",
            "polkit",
            "polkit is not installed: a rule that asks a person to authenticate again would refuse",
            "install polkit, or set bus.polkit = false",
        );
    }
    match &system.polkit_actions {
        Some(BusPolicy::Missing) => found.add(
            "polkit-actions-missing",
            "org.greffier.archive.policy",
            "polkit does not know what greffier asks it: a rule that asks a person to authenticate again refuses",
            "install it again: make install",
        ),
        Some(BusPolicy::Differs(path)) => found.add(
            "polkit-actions-differ",
            path.as_str(),
            "the actions of polkit are not those that this version ships",
            "compare them with the shipped ones: all say auth_self; what a site wants otherwise belongs into /etc/polkit-1/rules.d",
        ),
        Some(BusPolicy::Same(_)) | None => {}
    }
    judge_units(facts, found);
    if !system.fuse {
        found.add(
            "fuse-missing",
            "/dev/fuse",
            "it is missing: recordings are given as pipes alone, where a grant says pipe = true",
            "load the module fuse, and let the service use the device",
        );
    }
    for area in &system.clear_swap {
        found.add(
            "swap-clear",
            area.as_str(),
            "memory may be written there in clear; keys are locked, decrypted pictures are not",
            "encrypt it, use compressed memory instead, or turn it off",
        );
    }
    if let Some(pattern) = system.core_pattern.as_ref().filter(|pattern| !pattern.is_empty()) {
        found.add(
            "core-dumps",
            "kernel.core_pattern",
            format!("core dumps go to \"{pattern}\"; the service gives none, players of its users may"),
            "turn them off for viewers, if what they watched must not stay",
        );
    }
    match &system.service {
        Some((state, why)) if state == "closed" => {
            found.add("service-closed", "greffierd", why.as_str(), "do what it says");
        }
        Some((state, why)) if state == "degraded" => {
            found.add("service-degraded", "greffierd", why.as_str(), "do what it says");
        }
        _ => {}
    }
}

fn judge_units(facts: &Facts, found: &mut Found) {
    let (system, unit) = (&facts.system, &facts.system.unit);
    if !system.systemd {
        let what = "systemd does not run this machine: nothing starts the service again, and its limits are not in force";
        return found.add("no-systemd", "greffierd.service", what, "nothing, on a machine for development");
    }
    let Some(path) = &unit.path else {
        return found.add("unit-missing", "greffierd.service", "the unit is not installed", "make install");
    };
    if !unit.as_shipped {
        let what = "the unit is not the one that this version ships";
        found.add(
            "unit-differs",
            path.as_str(),
            what,
            "keep the shipped one, and change it with systemctl edit greffierd",
        );
    }
    if !unit.enabled {
        let what = "the service does not start with the machine";
        found.add("unit-not-enabled", path.as_str(), what, "systemctl enable greffierd");
    }
    for (path, text) in &unit.drop_ins {
        let weak = weakens(text);
        if !weak.is_empty() {
            let what = format!("it takes back what the unit forbids itself: {}", weak.join("; "));
            found.add(
                "unit-weakened",
                path.as_str(),
                what,
                "remove these lines, or know why they stand there",
            );
        }
    }
}
