//! Pages of a listing: how many items, and where the page before ended.
//!
//! A cursor says which listing it is of and the place of the last item. It is opaque to clients, so that a listing may
//! change what it is ordered by. What is listed is ordered by something that never changes: whatever happens in
//! between, paging through gives everything that is there throughout exactly once.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

use crate::admin::problem::Problem;

/// Items of a page, if nobody says how many.
const DEFAULT: u32 = 100;

/// Items of a page at most.
const MOST: u32 = 1000;

/// How many items at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Limit(u32);

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl TryFrom<u32> for Limit {
    type Error = String;

    fn try_from(limit: u32) -> Result<Self, String> {
        let fits = (1..=MOST).contains(&limit);
        fits.then_some(Self(limit)).ok_or_else(|| format!("limit is from 1 to {MOST}"))
    }
}

impl Limit {
    /// One more than fit, which tells whether there is another page.
    pub(super) fn and_one(self) -> u32 {
        self.0 + 1
    }

    /// As many as fit.
    pub(super) fn get(self) -> u32 {
        self.0
    }
}

/// Some text that a database can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Words(String);

impl TryFrom<String> for Words {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.contains('\0') { Err("no NUL character can be asked for") } else { Ok(Self(text)) }
    }
}

impl From<Words> for String {
    fn from(words: Words) -> Self {
        words.0
    }
}

/// Part of a listing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page<T> {
    /// The items.
    pub(super) items: Vec<T>,
    /// Ask for `cursor` with this to go on; none: that was all.
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    /// Of so many and one items. `place` is what the listing is ordered by.
    pub(super) fn of<P: Serialize>(
        listing: &str,
        mut items: Vec<T>,
        limit: Limit,
        place: impl FnOnce(&T) -> P,
    ) -> Result<Self, Problem> {
        let more = items.len() > limit.0 as usize;
        items.truncate(limit.0 as usize);
        let last = items.last().filter(|_| more).map(place);
        Ok(Self { next: last.map(|place| cursor(listing, &place)).transpose()?, items })
    }
}

fn cursor(listing: &str, place: &impl Serialize) -> Result<String, Problem> {
    let text = serde_json::to_vec(&(listing, place));
    text.map(|text| URL_SAFE_NO_PAD.encode(text)).map_err(|_| Problem::unavailable("this page has no end"))
}

/// The place where the page before ended.
pub(super) fn place<P: DeserializeOwned>(listing: &str, cursor: Option<&str>) -> Result<Option<P>, Problem> {
    let Some(cursor) = cursor else { return Ok(None) };
    let text = URL_SAFE_NO_PAD.decode(cursor).ok();
    let read = text.and_then(|text| serde_json::from_slice::<(String, P)>(&text).ok());
    match read {
        Some((of, place)) if of == listing => Ok(Some(place)),
        _ => Err(Problem::bad_request(
            "cursor is none of this listing: take `next` of the page before as it is, or leave it out",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_where_the_next_one_begins() {
        let page = Page::of("numbers", vec![9, 8, 7], Limit(2), |number| *number).unwrap();
        assert_eq!(page.items, [9, 8]);
        assert_eq!(place("numbers", page.next.as_deref()).unwrap(), Some(8));
        let last = Page::of("numbers", vec![7, 6], Limit(2), |number| *number).unwrap();
        assert_eq!((last.items.len(), last.next), (2, None));
    }

    #[test]
    fn a_cursor_of_anything_else_is_refused() {
        let other = cursor("letters", &"a").unwrap();
        for wrong in [other.as_str(), "", "!", "bnVtYmVycw", "WyJudW1iZXJzIiwiYSJd"] {
            assert_eq!(place::<u64>("numbers", Some(wrong)).unwrap_err().status, 400, "{wrong}");
        }
        assert_eq!(place::<u64>("numbers", None).unwrap(), None);
    }

    #[test]
    fn a_limit_has_its_own() {
        assert!(Limit::try_from(0).is_err() && Limit::try_from(1001).is_err());
        assert_eq!(Limit::try_from(1000).unwrap().and_one(), 1001);
        assert_eq!(Limit::default().get(), 100);
    }
}
