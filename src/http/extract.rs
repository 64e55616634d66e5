//! Parts of a request, read into checked types; what does not fit is a problem document.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path, RawQuery},
    http::request::Parts,
};

use super::problem::Problem;
use crate::{
    job::JobId,
    queue::{Cursor, NoCursor},
};

/// The job id in the path. One that no job can have is not found.
pub(super) struct PathId(pub(super) JobId);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the path is not UTF-8 after percent-decoding"))?;
        JobId::parse(&text).map(Self).map_err(Problem::not_found)
    }
}

/// What the path ends in.
pub(super) struct PathText(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<String>::from_request_parts(parts, state)
            .await
            .map(|Path(text)| Self(text))
            .map_err(|_| Problem::bad_request("the path is not UTF-8 after percent-decoding"))
    }
}

/// The query, decoded. Unknown parameters are ignored.
pub(super) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RawQuery(text) = RawQuery::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the query could not be read"))?;
        Ok(Self::parse(text.as_deref().unwrap_or_default().as_bytes()))
    }
}

impl Query {
    /// Reads `application/x-www-form-urlencoded` text.
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The last value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Every value of `name`, in order.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The place where a page of a list begins, where one is named.
    pub(super) fn cursor<P: FromStr>(&self) -> Result<Option<Cursor<P>>, Problem> {
        self.get("cursor")
            .map(str::parse)
            .transpose()
            .map_err(|error: NoCursor| Problem::bad_request(error.to_string()))
    }

    /// The same parameters, but those named in `without`, and one more: as the query of an address.
    pub(super) fn with(&self, without: &[&str], more: Option<(&str, &str)>) -> String {
        let kept = self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let kept = kept.filter(|(key, value)| !without.contains(key) && !value.is_empty());
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept.chain(more)).finish()
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(Some(number)),
            _ => {
                let found: String = text.chars().take(40).collect();
                Err(Problem::bad_request(format!(
                    "`{name}` must be a whole number from {least} to {most}, found {found:?}"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn an_address_keeps_what_was_asked_for() {
        let query = Query::parse(b"status=failed&q=a%26b+c&lane=&cursor=old&offset=3");
        assert_eq!(query.with(&["cursor", "offset"], Some(("cursor", "x/1"))), "status=failed&q=a%26b+c&cursor=x%2F1");
        assert_eq!(query.with(&["cursor", "offset"], None), "status=failed&q=a%26b+c");
    }

    #[test]
    fn numbers_are_bounded() {
        let query = Query::parse(b"a=3&a=5&b=&c=x&d=-1&e=301&f=3.0");
        assert_eq!(query.number("a", 0, 300).ok(), Some(Some(5)));
        assert_eq!(query.number("z", 0, 300).ok(), Some(None));
        for bad in ["b", "c", "d", "e", "f"] {
            assert!(query.number(bad, 0, 300).is_err(), "{bad}");
        }
    }
}
