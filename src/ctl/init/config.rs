//! The text of a new `greffier.toml`.

use super::Plan;
use crate::shell::disk::master_place::MasterPlace;

/// The commented configuration, with a name between `@` in each place that `init` fills.
const TEMPLATE: &str = include_str!("../../../policy/greffier.toml.init");

/// The configuration of a new archive.
pub fn text(plan: &Plan) -> Result<String, serde_json::Error> {
    let path = |path: &std::path::Path| quoted(&path.to_string_lossy());
    let key = match &plan.key {
        MasterPlace::Credential { name, .. } => {
            format!("credential = {}   # encrypted to this machine by systemd-creds", quoted(name)?)
        }
        MasterPlace::PlainFile(file) => {
            format!("insecure_key_file = {}   # whoever reads it opens every recording", path(file)?)
        }
    };
    let mut text = String::new();
    // Every second part stands between two `@`, so a value that holds one is not looked at again.
    for (i, part) in TEMPLATE.split('@').enumerate() {
        text += &match (i % 2, part) {
            (0, words) => words.to_owned(),
            (_, "ORIGIN") => quoted(&plan.origin)?,
            (_, "POLICY") => path(&plan.policy_file())?,
            (_, "STATE_DIR") => path(&plan.state_dir)?,
            (_, "SPOOL_DIR") => path(&plan.spool_dir)?,
            (_, "RUN_DIR") => path(&plan.run_dir)?,
            (_, "BUS") => quoted(plan.bus.as_deref().unwrap_or("system"))?,
            // A private bus has no polkit on it.
            (_, "POLKIT") => plan.bus.is_none().to_string(),
            (_, "KEY") => key.clone(),
            (_, unknown) => format!("@{unknown}@"),
        };
    }
    Ok(text)
}

/// A TOML string. Without control characters, which `plan` refused, JSON and TOML quote alike.
fn quoted(text: &str) -> Result<String, serde_json::Error> {
    serde_json::to_string(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(key: MasterPlace, bus: Option<&str>) -> Plan {
        Plan {
            origin: "a.example/g".into(),
            config_dir: "/c \"quoted\\".into(),
            state_dir: "/s".into(),
            spool_dir: "/p".into(),
            run_dir: "/r".into(),
            bus: bus.map(str::to_owned),
            key,
        }
    }

    #[test]
    fn every_place_of_the_template_is_filled_and_reads_back() {
        let text = text(&plan(MasterPlace::PlainFile("/k".into()), Some("unix:path=/b"))).unwrap();
        assert!(!text.contains('@'), "{text}");
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["origin"].as_str(), Some("a.example/g"));
        assert_eq!(table["policy"].as_str(), Some("/c \"quoted\\/policy.toml"));
        assert_eq!(table["bus"]["address"].as_str(), Some("unix:path=/b"));
        assert_eq!(table["bus"]["polkit"].as_bool(), Some(false));
        assert_eq!(table["key"]["insecure_key_file"].as_str(), Some("/k"));
        assert!(table["key"].get("credential").is_none());
    }

    #[test]
    fn an_ordinary_archive_uses_the_credential_and_the_system_bus() {
        let table: toml::Table =
            text(&plan(MasterPlace::credential("greffier.master"), None)).unwrap().parse().unwrap();
        assert_eq!(table["key"]["credential"].as_str(), Some("greffier.master"));
        assert_eq!(table["bus"]["address"].as_str(), Some("system"));
    }
}
