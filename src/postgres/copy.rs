//! Rows on their way into a table by COPY, in its binary format.
//!
//! For hundreds of rows COPY costs the server half of what an INSERT from arrays does: it parses no arrays, and fills
//! pages without planning anything. What it can't do is pass over rows that are there already.

use sqlx::{Encode, PgConnection, Postgres, encode::IsNull, postgres::PgArgumentBuffer};

/// What COPY's binary format begins with: its signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
const TRAILER: i16 = -1;

/// How many rows are worth the round trip more that COPY takes.
pub(super) const WORTH_COPYING: usize = 32;

/// Rows of so many columns.
pub(super) struct CopyRows {
    columns: i16,
    encoded: PgArgumentBuffer,
}

impl CopyRows {
    pub(super) fn of(columns: i16) -> Self {
        let mut encoded = PgArgumentBuffer::default();
        encoded.extend_from_slice(HEADER);
        Self { columns, encoded }
    }

    /// Begins a row; a [`value`](Self::value) for each column follows.
    pub(super) fn begin_row(&mut self) {
        self.encoded.extend_from_slice(&self.columns.to_be_bytes());
    }

    /// The next column's value. Its type has to be the column's own: nothing is cast.
    pub(super) fn value<'q>(&mut self, value: impl Encode<'q, Postgres>) -> Result<(), sqlx::Error> {
        let start = self.encoded.len();
        self.encoded.extend_from_slice(&[0; 4]);
        let length = match value.encode(&mut self.encoded).map_err(sqlx::Error::Encode)? {
            IsNull::Yes => -1,
            IsNull::No => i32::try_from(self.encoded.len() - start - 4)
                .map_err(|too_long| sqlx::Error::Encode(too_long.into()))?,
        };
        self.encoded[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Sends the rows to a `COPY … FROM STDIN (FORMAT binary)`: all of them get there, or none.
    pub(super) async fn send(
        mut self,
        connection: &mut PgConnection,
        statement: &str,
    ) -> Result<(), sqlx::Error> {
        self.encoded.extend_from_slice(&TRAILER.to_be_bytes());
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(self.encoded.as_slice()).await?;
        copy.finish().await?;
        Ok(())
    }
}
