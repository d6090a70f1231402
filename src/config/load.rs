//! Laying the sources over each other: defaults, file, environment.

use std::{collections::BTreeMap, path::PathBuf};

use config::{File, FileFormat, builder::DefaultState};

use super::Config;

/// The defaults, which are the documentation as well.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The file that is read if it is there.
const DEFAULT_FILE: &str = "factline.toml";

const PREFIX: &str = "FACTLINE__";

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file that was asked for is not there.
    #[error("configuration file {} does not exist", .0.display())]
    NoFile(PathBuf),
    /// A source is not TOML, or lays something over a key that has another form.
    #[error("the configuration is unreadable: {0}")]
    Unreadable(String),
    /// A key is unknown or has a value of the wrong type.
    #[error("configuration key {key}: {reason}; `factline config show` prints the keys there are")]
    Key {
        /// The key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Values that cannot stand, alone or together.
    #[error("{}", .0.join("\n"))]
    Impossible(Vec<String>),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file, if any.
    pub file: Option<PathBuf>,
    /// The environment.
    pub environment: BTreeMap<String, String>,
}

impl Sources {
    /// This process' environment, and the file that the command line names, or else `factline.toml` if it is there.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        // A variable that is not Unicode is none of ours.
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
        Self { file: file.or_else(default), environment: std::env::vars_os().filter_map(unicode).collect() }
    }
}

/// Reads and checks the configuration.
pub fn load(sources: &Sources) -> Result<Config, Error> {
    let unreadable = |error: config::ConfigError| Error::Unreadable(without_passwords(&error.to_string()));
    let mut builder = config::Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
    match &sources.file {
        Some(file) if !file.exists() => return Err(Error::NoFile(file.clone())),
        Some(file) => builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml)),
        None => {}
    }
    let groups = group_names(&builder).map_err(unreadable)?;
    for (key, value) in overrides(&sources.environment, &groups)? {
        builder = match key {
            Key::Path(path) => builder.set_override(path, value).map_err(unreadable)?,
            Key::Policy { path, key } => {
                let section = toml::Table::from_iter([(key, value_as_toml(&value))]);
                let policies = toml::Table::from_iter([(path, section.into())]);
                let table = toml::Table::from_iter([("supervision".to_owned(), policies.into())]);
                builder.add_source(File::from_str(&table.to_string(), FileFormat::Toml))
            }
        };
    }
    let merged = builder.build().map_err(unreadable)?;
    let config: Config = serde_path_to_error::deserialize(merged).map_err(|error| Error::Key {
        key: error.path().to_string(),
        reason: without_passwords(&error.inner().to_string()),
    })?;
    config.check().map_err(Error::Impossible)?;
    Ok(config)
}

/// Errors quote what they complain about, and that may be a URL with a password.
fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let url = part.find(char::is_whitespace).unwrap_or(part.len());
        let secret_end = part[..url].rfind('@').unwrap_or(0);
        clean += "://";
        clean += if secret_end > 0 { "***" } else { "" };
        clean += &part[secret_end..];
    }
    clean
}

/// The groups' names in order, for the environment calls them by name.
fn group_names(builder: &config::ConfigBuilder<DefaultState>) -> Result<Vec<String>, config::ConfigError> {
    let groups = builder.clone().build()?.get_array("groups")?;
    let name = |group: config::Value| {
        let name = group.into_table().ok().and_then(|mut group| group.remove("name"));
        name.and_then(|name| name.into_string().ok()).unwrap_or_default()
    };
    Ok(groups.into_iter().map(name).collect())
}

enum Key {
    Path(String),
    /// A supervision path has slashes, which key paths cannot have.
    Policy {
        path: String,
        key: String,
    },
}

/// What the environment sets; the more particular variable comes last and wins.
fn overrides(
    environment: &BTreeMap<String, String>,
    groups: &[String],
) -> Result<Vec<(Key, config::Value)>, Error> {
    let mut overrides = Vec::new();
    let urls = [
        ("DATABASE_URL", ["source.url", "store.url"].as_slice()),
        ("SOURCE_DATABASE_URL", &["source.url"]),
        ("REDIS_URL", &["stream.url"]),
    ];
    for (variable, keys) in urls {
        if let Some(url) = environment.get(variable).filter(|url| !url.is_empty()) {
            overrides.extend(keys.iter().map(|key| (Key::Path((*key).to_owned()), url.clone().into())));
        }
    }
    for (variable, key) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "telemetry.otlp_protocol"),
    ] {
        if let Some(text) = environment.get(variable).filter(|text| !text.is_empty()) {
            // OpenTelemetry calls it by what is sent as well.
            let text = text.strip_suffix("/protobuf").unwrap_or(text);
            overrides.push((Key::Path(key.to_owned()), text.to_owned().into()));
        }
    }
    for (variable, text) in environment {
        let Some(path) = variable.strip_prefix(PREFIX) else {
            refuse_misspelt(variable, groups)?;
            continue;
        };
        let path = path.to_lowercase();
        let parts: Vec<&str> = path.split("__").collect();
        let key = match parts.as_slice() {
            ["groups", name, key] => {
                let group = groups.iter().position(|group| group.to_lowercase() == *name);
                let group = group.ok_or_else(|| Error::Key {
                    key: variable.clone(),
                    reason: format!("there is no group {name:?}, only {}", groups.join(", ")),
                })?;
                Key::Path(format!("groups[{group}].{key}"))
            }
            ["supervision", path, key] => Key::Policy { path: (*path).into(), key: (*key).into() },
            parts => Key::Path(parts.join(".")),
        };
        overrides.push((key, value_of(text)));
    }
    Ok(overrides)
}

/// Refuses a variable that would be one of ours if it were spelt with two underscores; others may begin as ours do.
fn refuse_misspelt(variable: &str, groups: &[String]) -> Result<(), Error> {
    let Some(name) = variable.strip_prefix("FACTLINE_") else { return Ok(()) };
    let flat = |name: &str| name.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_");
    let Some(right) = variables(groups).into_iter().find(|right| flat(right) == flat(name)) else {
        return Ok(());
    };
    let reason = format!("it is not read, for it is spelt with two underscores: {PREFIX}{right}");
    Err(Error::Key { key: variable.to_owned(), reason })
}

/// What the variables of all keys that have a default are called, behind the prefix.
fn variables(groups: &[String]) -> Vec<String> {
    fn visit(path: &str, value: &toml::Value, found: &mut Vec<String>) {
        match value.as_table() {
            Some(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}__{key}") };
                    visit(&path, value, found);
                }
            }
            None => found.push(path.to_uppercase()),
        }
    }
    let mut found = Vec::new();
    let mut defaults: toml::Table = DEFAULTS.parse().unwrap_or_default();
    let group = defaults.remove("groups").and_then(|groups| groups.get(0).cloned());
    visit("", &defaults.into(), &mut found);
    for (name, group) in groups.iter().zip(group.iter().cycle()) {
        visit(&format!("groups__{name}"), group, &mut found);
    }
    found
}

/// A TOML value (`7`, `true`, `["a", "b"]`), or else plain text.
fn value_of(text: &str) -> config::Value {
    let read =
        format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("value"));
    match read {
        Some(toml::Value::Integer(number)) => number.into(),
        Some(toml::Value::Float(number)) => number.into(),
        Some(toml::Value::Boolean(truth)) => truth.into(),
        Some(toml::Value::String(text)) => text.into(),
        Some(toml::Value::Array(items)) => {
            let texts = items.into_iter().map(|item| match item {
                toml::Value::String(text) => text,
                other => other.to_string(),
            });
            texts.collect::<Vec<String>>().into()
        }
        _ => text.to_owned().into(),
    }
}

fn value_as_toml(value: &config::Value) -> toml::Value {
    let integer = value.clone().into_int().ok().filter(|_| !value.to_string().contains('.'));
    integer.map_or_else(|| value.to_string().into(), toml::Value::Integer)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    #[test]
    fn no_error_shows_a_password() {
        let folder = tempfile::tempdir().unwrap();
        for text in [
            "[store]\nurl = \"postgres://app:s3cret@db/chat",
            "[store]\npool = \"postgres://app:s3/c@ret@db/chat\"",
            "[store]\nurl = [\"redis://:s3cret@db\"]",
        ] {
            let file = folder.path().join("factline.toml");
            std::fs::write(&file, text).unwrap();
            let error = load(&Sources { file: Some(file), environment: BTreeMap::new() }).unwrap_err();
            let told = factline_pipeline::outage::chain(&error);
            assert!(!told.contains("s3") && !told.contains("ret@"), "{told}");
        }
        assert_eq!(without_passwords("a https://x/y b"), "a https://x/y b");
    }

    #[test]
    fn a_variable_with_one_underscore_is_told_how_it_is_spelt() {
        let load = |name: &str| {
            let environment = BTreeMap::from([(name.to_owned(), "x".to_owned())]);
            load(&Sources { file: None, environment })
        };
        for (wrong, right) in [
            ("FACTLINE_ADMIN_BIND", "FACTLINE__ADMIN__BIND"),
            ("FACTLINE_RELAY__BATCH_SIZE", "FACTLINE__RELAY__BATCH_SIZE"),
            ("FACTLINE_SOURCE_COLUMNS_EVENT_ID", "FACTLINE__SOURCE__COLUMNS__EVENT_ID"),
            ("FACTLINE_GROUPS_FACTS_WORKERS", "FACTLINE__GROUPS__FACTS__WORKERS"),
            ("FACTLINE_INSTANCE", "FACTLINE__INSTANCE"),
        ] {
            let error = load(wrong).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains(right), "{error}");
        }
        for other in ["FACTLINE_TOKEN", "FACTLINE_SOAK_SEED", "FACTLINE_PORT", "FACTLINE_SERVICE_HOST"] {
            assert!(load(other).is_ok(), "{other}");
        }
    }

    /// A line of a file, more or less.
    fn line() -> impl Strategy<Value = String> {
        let key = select(vec![
            "url",
            "pool",
            "batch_size",
            "poll_min",
            "retention",
            "name",
            "workers",
            "topics",
            "kind",
            "strategy",
            "within",
            "backoff_jitter",
            "every",
            "bind",
            "extract_timeout",
            "order",
            "partitions",
        ]);
        let value = prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            any::<String>().prop_map(|text| format!("{text:?}")),
            select(vec![
                "true",
                "[]",
                "[1]",
                "{}",
                "\"0s\"",
                "\"9999999999999y\"",
                "\"\"",
                "\"auto\"",
                "\"::1\""
            ])
            .prop_map(str::to_owned),
        ];
        let section = select(vec![
            "[source]",
            "[store]",
            "[stream]",
            "[relay]",
            "[[groups]]",
            "[extractors.x]",
            "[supervision.root]",
            "[supervision.\"root/relay\"]",
            "[janitor]",
            "[admin]",
            "[telemetry]",
            "[outage]",
            "[source.columns]",
        ]);
        prop_oneof![
            2 => section.prop_map(str::to_owned),
            5 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
            1 => any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn whatever_is_configured_is_taken_or_refused_with_a_reason(
            lines in vec(line(), 0..12),
            variables in vec(("(SOURCE__|RELAY__|GROUPS__FACTS__|SUPERVISION__ROOT__|A__)?[A-Z_]{0,12}", any::<String>()), 0..4),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("factline.toml");
            std::fs::write(&file, lines.join("\n")).unwrap();
            let environment = variables.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value));
            if let Err(error) = load(&Sources { file: Some(file), environment: environment.collect() }) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}
