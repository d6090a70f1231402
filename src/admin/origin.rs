//! Whether a request means this server, and comes from its own pages: what keeps a web page that somebody here has open
//! from asking in their name, by its own origin or by a name that it has made resolve to us (DNS rebinding).

use std::net::IpAddr;

use actix_web::{
    dev::ServiceRequest,
    http::{StatusCode, header},
};

use super::{clients::Connection, problem::Problem};

/// Refuses requests that name another host, or that a page of another origin has made.
///
/// A port in `Host` may be any: one that a container publishes is not the one that it listens on, and no name is
/// rebound by its port.
pub(super) fn check(request: &ServiceRequest, hosts: &[String]) -> Result<(), Problem> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    // A request in absolute form carries its host twice; that in the target counts.
    let host = request.uri().authority().map_or(host, |authority| Some(authority.as_str()));
    let host = host.ok_or_else(|| Problem::bad_request("a request needs a Host header"))?;
    let local = request
        .request()
        .conn_data::<Connection>()
        .and_then(|connection| connection.local)
        .map(|local| local.ip());
    if !is_ours(host, hosts, local) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            format!("this server is not called {host:?}: use its address, or add the name to admin.hosts"),
        ));
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    if origin.to_str().is_ok_and(|origin| is_same(origin, host)) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "a page of another origin may not ask anything here"))
}

fn is_ours(host: &str, hosts: &[String], local: Option<IpAddr>) -> bool {
    let name = without_port(host);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let ours =
        |address: IpAddr| address.is_loopback() || local.map(|local| local.to_canonical()) == Some(address);
    name.eq_ignore_ascii_case("localhost")
        || address.is_some_and(|address| ours(address.to_canonical()))
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            // `::1` without brackets has colons of its own, and no port.
            if name.contains(':') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

fn is_same(origin: &str, host: &str) -> bool {
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_its_names() {
        let hosts = ["factline".to_owned(), "proxy:8443".to_owned()];
        let local = Some("10.0.0.7".parse().unwrap());
        for host in [
            "localhost",
            "LocalHost:8080",
            "127.0.0.1:8080",
            "127.0.0.2",
            "[::1]:8080",
            "[::1]",
            "::1",
            "10.0.0.7:80",
            "[::ffff:10.0.0.7]:80",
            "factline",
            "FACTLINE:9000",
            "proxy:8443",
        ] {
            assert!(is_ours(host, &hosts, local), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "localhost.evil.example",
            "10.0.0.8",
            "factline.evil",
            "proxy",
            "[::2]",
        ] {
            assert!(!is_ours(host, &hosts, local), "{host}");
        }
    }

    #[test]
    fn an_origin_is_the_same_only_with_the_same_port() {
        assert!(is_same("http://localhost:8080", "localhost:8080"));
        assert!(is_same("https://factline", "factline"));
        for origin in
            ["null", "", "http://localhost:81", "http://localhost", "file://localhost:8080", "localhost:8080"]
        {
            assert!(!is_same(origin, "localhost:8080"), "{origin}");
        }
    }
}
