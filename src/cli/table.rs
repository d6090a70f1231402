//! Tables for people.

use std::fmt::Display;

use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};

/// A table with these columns, as wide as the terminal at most.
pub(super) fn new(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(columns.iter().copied());
    table
}

/// A time to the second; a day alone where that is all there is.
pub(super) fn time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// What there is, or nothing.
pub(super) fn or_dash(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or_else(|| "–".to_owned())
}

/// `1 row`, `2 rows`, `2 tries`.
pub(super) fn counted(number: impl Display + Copy + TryInto<u64>, noun: &str) -> String {
    if number.try_into().is_ok_and(|number| number == 1) {
        return format!("{number} {noun}");
    }
    noun.strip_suffix("ry").map_or_else(|| format!("{number} {noun}s"), |stem| format!("{number} {stem}ries"))
}

/// The text's first line, as long as there is room for.
pub(super) fn shortened(text: &str, width: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= width && line.len() == text.trim_end().len() {
        return line.to_owned();
    }
    let beginning: String = line.chars().take(width.saturating_sub(1)).collect();
    format!("{beginning}…")
}
