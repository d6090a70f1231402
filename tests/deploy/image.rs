//! `deploy/Dockerfile`: that it copies what the build reads, and builds with the Rust that the workspace wants.

use std::path::{Path, PathBuf};

use super::{read, root};

/// What the Dockerfile copies from the repository.
fn copied() -> Vec<String> {
    let text = read("deploy/Dockerfile");
    let copies = text.lines().filter_map(|line| line.strip_prefix("COPY "));
    let from_here = copies.filter(|line| !line.starts_with("--from="));
    from_here
        .flat_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words[..words.len() - 1].iter().map(|&word| word.to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, files) } else { files.push(path) }
    }
}

/// What the sources compile in, as paths in the repository: `include_str!` beside the file, `migrate!` from the root.
fn compiled_in() -> Vec<String> {
    let mut sources = Vec::new();
    for folder in ["src", "actors/pipeline/src", "actors/supervision/src"] {
        files_below(&root().join(folder), &mut sources);
    }
    let mut found = Vec::new();
    for source in sources.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let text = std::fs::read_to_string(source).unwrap();
        for (macro_name, base) in [("include_str!(\"", source.parent().unwrap()), ("migrate!(\"", root())] {
            for part in text.split(macro_name).skip(1) {
                let path = base.join(part.split('"').next().unwrap());
                let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn everything_that_is_compiled_in_is_copied_and_everything_copied_is_sent() {
    let copied = copied();
    let sent = read(".dockerignore");
    let sent: Vec<&str> = sent.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for path in &copied {
        assert!(root().join(path).exists(), "{path} is copied and not there");
        assert!(
            sent.iter().any(|sent| path == sent || path.starts_with(&format!("{sent}/"))),
            "{path} is not sent"
        );
    }
    for path in &sent {
        let is_copied = copied.iter().any(|copied| copied == path || copied.starts_with(&format!("{path}/")));
        assert!(is_copied, "{path} is sent and not copied");
    }
    let compiled_in = compiled_in();
    assert!(compiled_in.iter().any(|path| path == "config/default.toml"), "{compiled_in:?}");
    for path in compiled_in {
        let is_copied =
            copied.iter().any(|copied| path == *copied || path.starts_with(&format!("{copied}/")));
        assert!(is_copied, "{path} is compiled in and not copied");
    }
    // No secret, no history, no build of the host.
    for path in [".env", ".git", "target", "backups"] {
        assert!(!sent.contains(&path), "{path}");
    }
}

#[test]
fn every_crate_of_the_workspace_is_there_for_the_layer_of_the_dependencies() {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let copied = copied();
    for member in workspace["workspace"]["members"].as_array().unwrap() {
        let manifest = format!("{}/Cargo.toml", member.as_str().unwrap());
        assert!(copied.contains(&manifest), "{manifest}");
        let manifest: toml::Table = read(&manifest).parse().unwrap();
        let name = manifest["package"]["name"].as_str().unwrap();
        assert!(
            read("deploy/Dockerfile").contains(&format!("-p {name}")),
            "{name} would stay as it was empty"
        );
    }
}

#[test]
fn it_builds_with_a_rust_that_is_new_enough_and_runs_without_rights() {
    let text = read("deploy/Dockerfile");
    let version = text.lines().find_map(|line| line.strip_prefix("ARG RUST_VERSION=")).unwrap();
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let least = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
    let parts =
        |version: &str| -> Vec<u32> { version.split('.').map(|part| part.parse().unwrap()).collect() };
    assert!(parts(version) >= parts(least), "{version} is older than {least}");
    let package = workspace["workspace"]["package"]["version"].as_str().unwrap();
    assert!(text.contains(&format!("ARG VERSION={package}\n")));
    assert!(read(".env.example").contains(&format!("FACTLINE_VERSION={package}\n")));
    let runtime = text.rsplit("\nFROM ").next().unwrap();
    for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
        let copies = |line: &str| line.starts_with("COPY ") && line.contains(&format!(" {license} "));
        assert!(runtime.lines().any(copies), "{license}");
    }
    let user = runtime.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert_eq!(user, "10001:10001");
    for line in ["ENTRYPOINT [\"factline\"]", "CMD [\"run\"]", "CMD [\"factline\", \"health\"]"] {
        assert!(runtime.contains(line), "{line}");
    }
    for label in ["title", "version", "revision", "created", "licenses"] {
        assert!(runtime.contains(&format!("org.opencontainers.image.{label}=")), "{label}");
    }
}
