//! Many rows in few statements, each value a parameter of its own.
//!
//! A batch as one JSON array costs SQLite more than the insert: it writes and parses a row's JSON again for each of its
//! columns. A statement with many rows of parameters costs a quarter. There are three lengths of it, so that all are
//! prepared once; rows that are missing to the next length are left out, which their first column says, a NULL.

use std::sync::{Arc, OnceLock};

use factline_pipeline::outage::Error;
use sqlx::{
    Arguments as _, AssertSqlSafe, Encode, Sqlite, SqliteConnection, Type, error::BoxDynError,
    sqlite::SqliteArguments,
};

use super::{failed, refused};

/// Rows in a statement.
const LENGTHS: [usize; 3] = [1, 8, 128];

/// The last of them.
const LONGEST: usize = 128;

/// A statement that inserts any number of rows.
pub(super) struct Insert {
    head: &'static str,
    columns: usize,
    select: &'static str,
    tail: &'static str,
    statements: OnceLock<[Arc<str>; LENGTHS.len()]>,
}

impl Insert {
    /// `head` names the table and its columns, `select` says what goes there, of so many columns of parameters called
    /// `column1`, `column2` and so on; `tail` is what comes after. The first column of parameters is never NULL.
    pub(super) const fn new(
        head: &'static str,
        columns: usize,
        select: &'static str,
        tail: &'static str,
    ) -> Self {
        Self { head, columns, select, tail, statements: OnceLock::new() }
    }

    /// Inserts the rows in their order; says how many it inserted or changed.
    pub(super) async fn execute<R>(
        &self,
        connection: &mut SqliteConnection,
        rows: impl IntoIterator<Item = R>,
        bind: impl Fn(R, &mut Parameters) -> Result<(), BoxDynError>,
    ) -> Result<u64, Error> {
        let mut rows = rows.into_iter().peekable();
        let mut affected = 0;
        while rows.peek().is_some() {
            let mut parameters = Parameters(SqliteArguments::default());
            let mut length = 0;
            for row in rows.by_ref().take(LONGEST) {
                if length == 0 {
                    parameters.0.reserve(self.columns, 0);
                }
                bind(row, &mut parameters).map_err(refused)?;
                length += 1;
            }
            let query = sqlx::query_with(AssertSqlSafe(self.statement(length)), parameters.0);
            affected += query.execute(&mut *connection).await.map_err(failed)?.rows_affected();
        }
        Ok(affected)
    }

    /// The shortest statement for so many rows.
    fn statement(&self, rows: usize) -> Arc<str> {
        let statements = self.statements.get_or_init(|| LENGTHS.map(|length| self.spell(length).into()));
        let fitting = LENGTHS.iter().position(|length| *length >= rows);
        statements[fitting.unwrap_or(LENGTHS.len() - 1)].clone()
    }

    fn spell(&self, length: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(", "));
        let rows = vec![row.as_str(); length].join(", ");
        let Self { head, select, tail, .. } = self;
        format!("{head} SELECT {select} FROM (VALUES {rows}) WHERE column1 IS NOT NULL {tail}")
    }
}

/// The parameters of a statement.
pub(super) struct Parameters(SqliteArguments);

impl Parameters {
    /// The next one.
    pub(super) fn add<'t, T: Encode<'t, Sqlite> + Type<Sqlite>>(
        &mut self,
        value: T,
    ) -> Result<(), BoxDynError> {
        self.0.add(value)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    static INSERT: Insert = Insert::new("INSERT INTO rows (n, t)", 2, "*", "ON CONFLICT DO NOTHING");

    #[tokio::test]
    async fn any_number_of_rows_is_inserted_in_order() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql("CREATE TABLE rows (n int UNIQUE, t text)").execute(&mut connection).await.unwrap();
        let mut first = 0;
        for number in [0, 1, 2, 8, 9, 127, 128, 129, 256, 300] {
            let bind = |n: i64, parameters: &mut Parameters| {
                parameters.add(n)?;
                parameters.add((n % 2 == 0).then(|| n.to_string()))
            };
            let inserted = INSERT.execute(&mut connection, first..first + number, bind).await.unwrap();
            assert_eq!(inserted, u64::try_from(number).unwrap());
            assert_eq!(INSERT.execute(&mut connection, first..first + number, bind).await.unwrap(), 0);
            first += number;
        }
        let rows: Vec<(i64, Option<String>)> =
            sqlx::query_as("SELECT n, t FROM rows ORDER BY rowid").fetch_all(&mut connection).await.unwrap();
        let expected: Vec<(i64, Option<String>)> =
            (0..first).map(|n| (n, (n % 2 == 0).then(|| n.to_string()))).collect();
        assert_eq!(rows, expected);
    }
}
