//! Which clips a search is about: sources by id or name, time in either clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, bail, ensure};
use footage_clip::{SourceId, SourceRecord};
use footage_index::{Filter, MediaRange, UtcRange};

use serde::{Deserialize, Serialize};

use super::search::SearchRequest;
use crate::when::When;

/// Sources, as a person names them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "EitherName")]
pub(crate) struct Named {
    /// An id, a name or a path.
    pub given: String,
    /// What `given` is as a whole path where it was typed, if there is such a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A name alone is enough.
#[derive(Deserialize)]
#[serde(untagged)]
enum EitherName {
    Plain(String),
    Whole { given: String, path: Option<String> },
}

impl From<EitherName> for Named {
    fn from(name: EitherName) -> Self {
        match name {
            EitherName::Plain(given) => Self { given, path: None },
            EitherName::Whole { given, path } => Self { given, path },
        }
    }
}

impl Named {
    /// As typed in the folder that this process works in.
    pub(crate) fn here(given: &str) -> Self {
        let whole = fs_err::canonicalize(given).ok();
        let path = whole.and_then(|path| path.to_str().map(str::to_owned));
        Self { given: given.to_owned(), path }
    }

    /// The sources that are meant: the one with this id, or all with this name or path.
    pub(crate) fn of(&self, known: &[SourceRecord]) -> Result<Vec<SourceId>> {
        let wanted = self.given.as_str();
        let is_meant = |record: &&SourceRecord| {
            let path = record.media.as_ref().map(|media| media.path.as_str());
            let is_its_path =
                path.is_some_and(|path| path == wanted || Some(path) == self.path.as_deref());
            record.source_id.as_str() == wanted || record.name == wanted || is_its_path
        };
        let meant: Vec<_> =
            known.iter().filter(is_meant).map(|record| record.source_id.clone()).collect();
        ensure!(
            !meant.is_empty(),
            "no source has the id, name or path `{wanted}`: `footage source list` shows what there is"
        );
        Ok(meant)
    }
}

/// The clips that a search is about.
pub(super) fn filter(request: &SearchRequest, known: &[SourceRecord]) -> Result<Filter> {
    let mut sources = Vec::new();
    for wanted in &request.sources {
        sources.extend(wanted.of(known)?);
    }
    let (media, utc) = time_filter(request.from, request.to, request.since_s)?;
    Ok(Filter { sources, media, utc })
}

/// A stretch of time, as people tell it: from and to in either clock, or the last so many seconds.
pub(super) fn time_filter(
    from: Option<When>,
    to: Option<When>,
    since_s: Option<f64>,
) -> Result<(Option<MediaRange>, Option<UtcRange>)> {
    let (media, utc) = times(from, to)?;
    let Some(seconds) = since_s else { return Ok((media, utc)) };
    let ago = Duration::try_from_secs_f64(seconds);
    let ago = ago.map_err(|error| anyhow!("since_s is {seconds}: {error}"))?;
    Ok((media, Some(since(ago))))
}

fn times(from: Option<When>, to: Option<When>) -> Result<(Option<MediaRange>, Option<UtcRange>)> {
    let ordered = |from: Option<i128>, to: Option<i128>| {
        let is_ordered = from.zip(to).is_none_or(|(from, to)| from < to);
        ensure!(is_ordered, "--from has to be earlier than --to");
        Ok(())
    };
    Ok(match (from, to) {
        (None, None) => (None, None),
        (Some(When::Media(_)) | None, Some(When::Media(_)) | None) => {
            let ns = |when| match when {
                Some(When::Media(ns)) => Some(ns),
                _ => None,
            };
            let (from_ns, to_ns) = (ns(from), ns(to));
            ordered(from_ns.map(i128::from), to_ns.map(i128::from))?;
            (Some(MediaRange { from_ns, to_ns }), None)
        }
        (Some(When::Utc(_)) | None, Some(When::Utc(_)) | None) => {
            let us = |when| match when {
                Some(When::Utc(us)) => Some(us),
                _ => None,
            };
            let (from_us, to_us) = (us(from), us(to));
            ordered(from_us.map(i128::from), to_us.map(i128::from))?;
            (None, Some(UtcRange { from_us, to_us }))
        }
        _ => bail!("--from and --to have to be of one kind: both media time, or both dates"),
    })
}

fn since(ago: Duration) -> UtcRange {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = now.saturating_sub(ago).as_micros();
    UtcRange { from_us: Some(i64::try_from(from).unwrap_or(i64::MAX)), to_us: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> When {
        text.parse().unwrap()
    }

    #[test]
    fn times_of_one_kind_make_a_range() {
        let (media, utc) = times(Some(at("1:00")), None).unwrap();
        assert_eq!(media.unwrap().from_ns, Some(60_000_000_000));
        assert_eq!(utc, None);
        let (media, utc) = times(None, Some(at("1970-01-02"))).unwrap();
        assert_eq!(media, None);
        assert_eq!(utc.unwrap().to_us, Some(86_400_000_000));
    }

    #[test]
    fn times_of_two_kinds_or_in_the_wrong_order_are_refused() {
        assert!(times(Some(at("1:00")), Some(at("1970-01-02"))).is_err());
        assert!(times(Some(at("2:00")), Some(at("1:00"))).is_err());
        assert!(times(Some(at("1970-01-02")), Some(at("1970-01-01"))).is_err());
    }
}
