//! `factline token`: a new bearer token, and what the configuration is to have of it.

use clap::ValueEnum;
use serde_json::json;
use uuid::Uuid;

use super::{Verdict, print, print_json};
use crate::admin::access::hash_of;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Whose it is: lower-case letters, digits and _; the operator log calls them so
    #[arg(value_parser = name)]
    name: String,
    /// What they may do
    #[arg(long, value_enum, default_value_t = Role::Viewer)]
    role: Role,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Read
    Viewer,
    /// Send events, and nothing else
    Producer,
    /// Read and change
    Operator,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Producer => "producer",
            Self::Operator => "operator",
        }
    }
}

/// A name that a key of the configuration and an environment variable can both have.
fn name(text: &str) -> Result<String, &'static str> {
    let safe = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let parts = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    if !text.is_empty() && parts && text.bytes().all(safe) {
        Ok(text.to_owned())
    } else {
        Err("use lower-case letters, digits and single _ between them")
    }
}

/// Nothing is read and nothing is kept: a configuration that still lacks its tokens must not be in the way.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Verdict> {
    let Arguments { name, role, json } = arguments;
    // Two random UUIDs: 244 bits of the system's randomness.
    let token = format!("factline_{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let (hash, role) = (hash_of(&token), role.name());
    if *json {
        print_json(&json!({ "name": name, "role": role, "token": token, "sha256": hash }))?;
        return Ok(Verdict::Done);
    }
    let variable = format!("FACTLINE__ADMIN__TOKENS__{}", name.to_uppercase());
    print(format!(
        "{token}\n\n\
         That is the token; it is shown this once. What the daemon is to know of it, in factline.toml:\n\n\
         [admin.tokens.{name}]\nrole = \"{role}\"\nsha256 = \"{hash}\"\n\n\
         or in its environment:\n\n\
         {variable}__ROLE={role}\n{variable}__SHA256={hash}"
    ))?;
    Ok(Verdict::Done)
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn a_name_can_stand_in_a_file_and_in_the_environment() {
        assert!(["kim", "on_call", "ci2"].into_iter().all(|text| name(text).is_ok()));
        assert!(
            ["", "Kim", "on-call", "a__b", "_a", "a_", "a.b", "é"]
                .into_iter()
                .all(|text| name(text).is_err())
        );
    }
}
