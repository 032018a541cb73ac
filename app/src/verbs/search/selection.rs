//! Which clips a search is about: sources by id or name, time in either clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use footage_clip::{SourceId, SourceRecord};
use footage_index::{Filter, MediaRange, UtcRange};

use super::Args;
use crate::when::When;

impl Args {
    pub(super) fn filter(&self, known: &[SourceRecord]) -> Result<Filter> {
        let mut sources = Vec::new();
        for wanted in &self.source {
            sources.extend(named(wanted, known)?);
        }
        let (media, utc) = times(self.from, self.to)?;
        let utc = self.since.map(since).or(utc);
        Ok(Filter { sources, media, utc })
    }
}

/// The sources that a person means: the one with this id, or all with this name or path.
pub(crate) fn named(wanted: &str, known: &[SourceRecord]) -> Result<Vec<SourceId>> {
    let whole = fs_err::canonicalize(wanted).ok();
    let whole = whole.as_ref().and_then(|path| path.to_str());
    let is_meant = |record: &&SourceRecord| {
        let path = record.media.as_ref().map(|media| media.path.as_str());
        let is_its_path = path.is_some_and(|path| path == wanted || Some(path) == whole);
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
