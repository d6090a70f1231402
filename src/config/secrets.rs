//! The configuration as it may be shown.

use url::Url;

use super::Config;

/// What stands where a secret stood.
const HIDDEN: &str = "***";

impl Config {
    /// The same with every secret replaced.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        for url in [
            &mut self.source.url,
            &mut self.store.url,
            &mut self.stream.url,
            &mut self.telemetry.otlp_endpoint,
        ] {
            *url = redacted(url);
        }
        // The hash of a token that somebody has thought up can be guessed.
        for token in self.admin.tokens.values_mut() {
            HIDDEN.clone_into(&mut token.sha256);
        }
        self
    }
}

fn redacted(url: &str) -> String {
    if url.is_empty() {
        return String::new();
    }
    let Ok(mut parsed) = Url::parse(url) else {
        return url.split_once(':').map_or(HIDDEN, |(scheme, _)| scheme).into();
    };
    if parsed.password().is_some() && parsed.set_password(Some(HIDDEN)).is_err() {
        return parsed.scheme().to_owned();
    }
    if parsed.query_pairs().any(|(name, _)| name.contains("password")) {
        parsed.set_query(Some(HIDDEN));
        return parsed.into();
    }
    // Parsing normalises; what has no secret is shown as it was written.
    if parsed.password().is_some() { parsed.into() } else { url.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn no_password_is_shown() {
        assert_eq!(redacted("postgres://app:s3cret@db/chat"), "postgres://app:***@db/chat");
        assert_eq!(redacted("redis://:s3cret@cache:6379/0"), "redis://:***@cache:6379/0");
        assert!(!redacted("postgres://db/chat?user=app&password=s3cret").contains("s3cret"));
        assert!(!redacted("postgres://app:s3cret@:bad port/").contains("s3cret"));
        assert_eq!(redacted("sqlite:./factline-data/factline.db"), "sqlite:./factline-data/factline.db");
        assert_eq!(redacted(""), "");
    }
}
