//! When a file's footage was recorded, as far as anyone can tell.

use footage_clip::{Clock, FileStamp, UtcStart};

/// Recorders write whole seconds.
const DATE_PRECISION_NS: u64 = 1_000_000_000;

/// A copy that does not keep dates makes a file look as young as the copy.
const FILE_UNCERTAINTY_MS: u32 = 24 * 3600 * 1000;

/// 1980-01-01. Recorders with an empty battery begin in 1904, 1970 or 1980.
const EARLIEST_UNIX_NS: i64 = 315_532_800 * 1_000_000_000;

/// Wall-clock time of a file's first picture.
///
/// A date in the container is taken to be that of the first picture; since some recorders write it
/// when they finish, the uncertainty covers the file's length. Without one, the file was finished
/// when it was last written, so the first picture is its length earlier.
pub(crate) fn first_picture(
    dated_unix_ns: Option<i64>,
    stamp: &FileStamp,
    duration_ns: Option<u64>,
) -> UtcStart {
    let duration_ns = duration_ns.unwrap_or(0);
    let day_later =
        stamp.modified_unix_ns.saturating_add(i64::from(FILE_UNCERTAINTY_MS) * 1_000_000);
    // A date after the file was written is a wrong one, whatever the time zone.
    let dated = dated_unix_ns.filter(|date| (EARLIEST_UNIX_NS..=day_later).contains(date));
    match dated {
        Some(unix_ns) => {
            let uncertainty_ms = duration_ns.saturating_add(DATE_PRECISION_NS).div_ceil(1_000_000);
            UtcStart {
                unix_ns,
                clock: Clock::Container,
                uncertainty_ms: u32::try_from(uncertainty_ms).unwrap_or(u32::MAX),
            }
        }
        None => UtcStart {
            unix_ns: stamp
                .modified_unix_ns
                .saturating_sub(i64::try_from(duration_ns).unwrap_or(i64::MAX)),
            clock: Clock::File,
            uncertainty_ms: FILE_UNCERTAINTY_MS,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const STAMP: FileStamp = FileStamp { size_bytes: 1, modified_unix_ns: 1_700_000_000 * SECOND };

    #[test]
    fn a_date_in_the_container_wins_and_may_be_off_by_the_files_length() {
        let start = first_picture(Some(1_600_000_000 * SECOND), &STAMP, Some(60 * SECOND as u64));
        assert_eq!(start.unix_ns, 1_600_000_000 * SECOND);
        assert_eq!((start.clock, start.uncertainty_ms), (Clock::Container, 61_000));
    }

    #[test]
    fn without_a_date_the_file_was_finished_when_it_was_last_written() {
        let start = first_picture(None, &STAMP, Some(60 * SECOND as u64));
        assert_eq!(start.unix_ns, 1_699_999_940 * SECOND);
        assert_eq!(start.clock, Clock::File);
    }

    #[test]
    fn dates_that_cannot_be_are_not_believed() {
        for date in [0, -2_082_844_800 * SECOND, 1_800_000_000 * SECOND, i64::MIN, i64::MAX] {
            assert_eq!(first_picture(Some(date), &STAMP, None).clock, Clock::File, "{date}");
        }
    }
}
