//! The commented file that `annals init` writes.

use std::fmt::Write;

use super::setting::{Kind, SETTINGS, Setting};

/// A rule of retention, which is no setting.
const RULE: &str = "
# Rules say how long events are kept: the first that matches decides, and what none matches
# is kept for ever. Of tenant, entity_type, action and tag any may be given, each one text
# or a list; keep is a time or \"for ever\", or a preset: pci-dss, hipaa, sox.
#
#   [[retention.rule]]
#   name = \"sign-ins\"
#   action = [\"login\", \"logout\"]
#   keep = \"90d\"
";

/// `annals.toml` with every setting, its meaning and its default, all of them
/// commented out, so that the file changes nothing until it is edited.
#[must_use]
pub fn template() -> String {
    let mut text = String::from(
        "# Annals' configuration. Flags override the environment (ANNALS_WORKER_BATCH_SIZE),\n\
         # which overrides this file. Paths are relative to where the command is started.\n\
         # `annals config` shows every setting, its value and where it came from.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        let (own, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if own != section {
            // Writing into a string has no way to fail.
            let _ = write!(text, "\n[{own}]");
            section = own;
        }
        if section == "retention" {
            text.push_str(RULE);
        }
        let comment = if setting.default.is_some() { "" } else { " Not set by default." };
        let _ = write!(text, "\n# {}{comment}\n# {name} = {}\n", setting.doc, example(setting));
    }
    text
}

fn example(setting: &Setting) -> String {
    let value = setting.default.map(|default| default.replace("{data_dir}", "annals-data"));
    match (setting.kind, value) {
        (Kind::Count(..), Some(value)) => value,
        (Kind::Count(..), None) => "100000".to_owned(),
        (_, Some(value)) => format!("{value:?}"),
        (Kind::Mapping, _) => "[\"verb=action\", \"subject=entity.id\"]".to_owned(),
        (Kind::Witnesses, _) => {
            "[\"witness.example+5e3c2d1f+BA… https://witness.example\"]".to_owned()
        }
        (Kind::Targets, _) => "[\"file:/mnt/elsewhere/checkpoint\", \"syslog:\"]".to_owned(),
        (Kind::Fields, _) => "[\"customer.email\", \"context.ip\"]".to_owned(),
        (Kind::Roles, _) => "[\"audit-team=auditor\", \"acme-support=reader@acme\"]".to_owned(),
        (Kind::Url, None) if setting.key == "oidc.issuer" => {
            "\"https://id.example.com\"".to_owned()
        }
        (Kind::Path, None) if setting.key == "oidc.secret_file" => {
            "\"/etc/annals/oidc.secret\"".to_owned()
        }
        (Kind::Origin, _) => "\"https://audit.example.com\"".to_owned(),
        (Kind::Networks, _) => "[\"10.0.0.0/8\"]".to_owned(),
        (Kind::Command, _) => "\"/usr/local/bin/annals-kms\"".to_owned(),
        (Kind::Path, None) if setting.key.starts_with("redact.") => {
            "\"/etc/annals/hash.key\"".to_owned()
        }
        (Kind::Path, None) if setting.key.starts_with("tls.") => {
            format!("\"/etc/annals/{}.pem\"", setting.key.trim_start_matches("tls."))
        }
        (Kind::Path, None) if setting.key.starts_with("seal.") => {
            "\"/etc/annals/master.key\"".to_owned()
        }
        (Kind::Urls, None) => "[\"file:annals-data/audit.log\"]".to_owned(),
        (Kind::Path, None) => "\"/etc/annals/log.key\"".to_owned(),
        (Kind::Bytes(..), None) => "\"256MiB\"".to_owned(),
        (Kind::Address, None) => "\"127.0.0.1:9620\"".to_owned(),
        (Kind::Duration(..), None) if setting.key.starts_with("prune.") => "\"365d\"".to_owned(),
        (_, None) => "\"1h\"".to_owned(),
    }
}
