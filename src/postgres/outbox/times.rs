//! Times in columns of whatever type an application chose.
//!
//! PostgreSQL's calendar is larger than anybody else's, and has an infinity on top; what lies outside the years 1 to
//! 9999 counts as no time. A number below 100 000 000 000 counts seconds since 1970, one above it milliseconds, as
//! everywhere in Factline.

/// What RFC 3339 looks like, to `to_char` and to a regular expression. Of equal length, such texts sort by time.
const RFC_3339: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS"Z"'"#;
const LOOKS_LIKE_RFC_3339: &str = "'^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z$'";
const LENGTH_OF_RFC_3339: u32 = 20;

/// How many digits a number of seconds has before the point.
const DIGITS_OF_SECONDS: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zoned,
    Unzoned,
    Date,
    Milliseconds,
    Seconds,
    Text,
}

/// A column that holds times: reading and writing it in SQL.
#[derive(Debug, Clone)]
pub(super) struct TimeColumn {
    name: String,
    sql_type: String,
    kind: Kind,
}

impl TimeColumn {
    /// A column of this type; fails with the reason if it can't hold times.
    pub(super) fn new(name: String, sql_type: &str) -> Result<Self, String> {
        let (plain, limits) = without_limits(sql_type);
        let kind = match plain.as_str() {
            "timestamp with time zone" => Kind::Zoned,
            "timestamp without time zone" => Kind::Unzoned,
            "date" => Kind::Date,
            "bigint" => Kind::Milliseconds,
            "integer" | "real" | "double precision" => Kind::Seconds,
            "numeric" => match limits[..] {
                [digits, ref scale @ ..]
                    if digits < DIGITS_OF_SECONDS + scale.first().copied().unwrap_or(0) =>
                {
                    return Err("which is too short for seconds since 1970".into());
                }
                _ => Kind::Seconds,
            },
            "text" | "citext" | "character varying" | "character" => match limits.first() {
                Some(&length) if length < LENGTH_OF_RFC_3339 => {
                    return Err("which is too short for 2026-01-31T09:30:00Z".into());
                }
                _ => Kind::Text,
            },
            _ => return Err("which holds no times; use timestamptz, a number or text".into()),
        };
        Ok(Self { name, sql_type: sql_type.to_owned(), kind })
    }

    /// The time that the column holds; NULL where it holds none, and where it is text.
    pub(super) fn read(&self) -> String {
        let Self { name, kind, .. } = self;
        match kind {
            Kind::Zoned => format!(
                "CASE WHEN {name} BETWEEN timestamptz '0001-01-01 00:00:00+00' \
                 AND timestamptz '9999-12-31 23:59:59.999999+00' THEN {name} END"
            ),
            Kind::Unzoned | Kind::Date => format!(
                "CASE WHEN {name} BETWEEN timestamp '0001-01-01' AND timestamp '9999-12-31 23:59:59.999999' \
                 THEN {name}::timestamp AT TIME ZONE 'UTC' END"
            ),
            Kind::Milliseconds | Kind::Seconds => format!(
                "CASE WHEN {name} BETWEEN -62135596800 AND 99999999999.999999 \
                 THEN to_timestamp({name}::double precision) \
                 WHEN {name} BETWEEN -62135596800000 AND -100000000000 OR {name} BETWEEN 99999999999.999999 \
                 AND 253402300799999 THEN to_timestamp(({name} / 1000.0)::double precision) END"
            ),
            Kind::Text => "NULL::timestamptz".into(),
        }
    }

    /// The text that the column holds; NULL where it is of another type.
    pub(super) fn read_text(&self) -> String {
        if self.kind == Kind::Text { format!("{}::text", self.name) } else { "NULL::text".into() }
    }

    /// The moment, an expression of type `timestamptz`, as the column holds it.
    pub(super) fn write(&self, moment: &str) -> String {
        let sql_type = &self.sql_type;
        match self.kind {
            Kind::Zoned => moment.into(),
            Kind::Unzoned | Kind::Date => format!("({moment} AT TIME ZONE 'UTC')::{sql_type}"),
            Kind::Milliseconds => format!("(extract(epoch FROM {moment}) * 1000)::bigint"),
            Kind::Seconds => format!("extract(epoch FROM {moment})::{sql_type}"),
            Kind::Text => format!("to_char({moment} AT TIME ZONE 'UTC', {RFC_3339})::{sql_type}"),
        }
    }

    /// What to compare with [`TimeColumn::comparable_moment`]; NULL where the column holds no time.
    pub(super) fn comparable(&self) -> String {
        match self.kind {
            Kind::Text => format!(
                "(CASE WHEN {0}::text ~ {LOOKS_LIKE_RFC_3339} THEN {0}::text END) COLLATE \"C\"",
                self.name
            ),
            _ => self.read(),
        }
    }

    /// The moment, an expression of type `timestamptz`, in the form of [`TimeColumn::comparable`].
    pub(super) fn comparable_moment(&self, moment: &str) -> String {
        match self.kind {
            Kind::Text => format!("to_char({moment} AT TIME ZONE 'UTC', {RFC_3339})"),
            _ => moment.into(),
        }
    }
}

/// `numeric(12,3)` as `numeric` with 12 and 3, `timestamp(3) without time zone` as the type without its 3.
pub(super) fn without_limits(sql_type: &str) -> (String, Vec<u32>) {
    match sql_type.split_once('(').and_then(|(front, rest)| Some((front, rest.split_once(')')?))) {
        Some((front, (limits, back))) => {
            let limits = limits.split(',').filter_map(|limit| limit.trim().parse().ok());
            (format!("{front}{back}"), limits.collect())
        }
        None => (sql_type.to_owned(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_told_from_its_limits() {
        for (sql_type, plain, limits) in [
            ("numeric(12,3)", "numeric", &[12, 3][..]),
            ("timestamp(3) without time zone", "timestamp without time zone", &[3]),
            ("character varying(20)", "character varying", &[20]),
            ("text", "text", &[]),
        ] {
            assert_eq!(without_limits(sql_type), (plain.to_owned(), limits.to_vec()));
        }
    }

    #[test]
    fn a_type_that_cannot_hold_times_is_refused() {
        for sql_type in ["boolean", "jsonb", "smallint", "interval", "numeric(12,3)", "character varying(10)"]
        {
            assert!(TimeColumn::new("t".into(), sql_type).is_err(), "{sql_type}");
        }
        for sql_type in ["date", "numeric", "numeric(13,3)", "character(20)", "timestamp(0) with time zone"] {
            assert!(TimeColumn::new("t".into(), sql_type).is_ok(), "{sql_type}");
        }
    }
}
