//! `factline dlq edit`: another payload for a letter, in an editor or from a file.

use std::{
    io::{Read, Write, stdin},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};
use similar::TextDiff;

use super::{named, show::readable};
use crate::{
    app::Databases,
    cli::{Verdict, print},
    dead_letters::Edit,
    operator_log::Actor,
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The letter: its id, the beginning of it, or its event's id
    #[arg(value_name = "ID")]
    name: String,
    /// Take the payload from a file, - for standard input, instead of opening $EDITOR
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn run(arguments: &Arguments, databases: &Databases, by: &Actor) -> anyhow::Result<Verdict> {
    let record = named(databases.records.as_ref(), &arguments.name).await?;
    let letter = databases.dead_letters.letter(record.id).await?.context("it was deleted just now")?;
    if !record.is_unfinished() {
        bail!("{} is {} already; nothing was changed", record.id, record.status);
    }
    let before = readable(&letter.payload);
    let after = match &arguments.file {
        Some(file) => read(file)?,
        None => edited(&before)?,
    };
    let after = after.trim();
    if after == before.trim() {
        print("nothing was changed")?;
        return Ok(Verdict::Done);
    }
    letter.check_payload(after).map_err(anyhow::Error::msg).context("nothing was changed")?;
    let edit = Edit { from: &letter.payload, to: after.as_bytes() };
    if !databases.dead_letters.edit(by, record.id, edit).await? {
        bail!(
            "somebody else has changed it in the meantime; look at it again with `factline dlq show {}`",
            record.id
        );
    }
    print(difference(&before, &readable(after.as_bytes())))?;
    print(match record.reprocess_run.filter(|_| record.status == "reprocessing") {
        Some(run) => format!(
            "edited; it waits in run {run}: if nobody is at it, go on with `factline dlq reprocess --resume`"
        ),
        None => format!("edited; go on with `factline dlq reprocess {}`", record.id),
    })?;
    Ok(Verdict::Done)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        stdin().read_to_string(&mut text).context("standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The text as it comes back from the editor.
fn edited(text: &str) -> anyhow::Result<String> {
    let editor = std::env::var("EDITOR").ok().filter(|editor| !editor.trim().is_empty());
    let editor = editor.context("no editor is known; set EDITOR, or give the payload with --file")?;
    let mut file = tempfile::Builder::new().prefix("payload-").suffix(".json").tempfile()?;
    writeln!(file, "{text}")?;
    file.flush()?;
    // By a shell, for it may come with arguments of its own.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{editor} \"$1\""), "sh"]).arg(file.path());
    let status = command.status().with_context(|| format!("{editor} cannot be started"))?;
    if !status.success() {
        bail!("the editor failed; nothing was changed");
    }
    read(file.path())
}

fn difference(before: &str, after: &str) -> String {
    let (before, after) = (format!("{before}\n"), format!("{after}\n"));
    let difference = TextDiff::from_lines(&before, &after);
    difference.unified_diff().header("before", "after").to_string().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_told_line_by_line() {
        let before = readable(br#"{"role": "user", "text": "I like tea."}"#);
        let after = readable(br#"{"role": "user", "content": "I like tea."}"#);
        insta::assert_snapshot!(difference(&before, &after), @r#"
        --- before
        +++ after
        @@ -1,4 +1,4 @@
         {
        -  "role": "user",
        -  "text": "I like tea."
        +  "content": "I like tea.",
        +  "role": "user"
         }
        "#);
    }
}
