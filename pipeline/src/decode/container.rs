//! Whether a file is as long as it says it is.
//!
//! Demuxers read what is there and call it the end. The outermost boxes of a container tell how much
//! there should have been, and that is all that is read here: a few bytes each, never their content.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use fs_err as fs;

/// More outer boxes than this are not looked at: a fragmented recording of a day has some 100,000.
const MAX_BOXES: usize = 1_000_000;

/// What the outside of a file tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outside {
    /// It announces more bytes than it has.
    pub(crate) is_cut_short: bool,
    /// It is in a format that says how long it plays.
    pub(crate) tells_duration: bool,
    /// It is of the family of MP4 and `QuickTime`, and this is what is in it.
    pub(crate) mp4: Option<Mp4>,
}

/// The boxes without which there is nothing to play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four facts that do not depend on each other")]
pub(crate) struct Mp4 {
    pub(crate) has_table_of_contents: bool,
    pub(crate) has_content: bool,
    /// Its video needs a key.
    pub(crate) is_encrypted: bool,
    /// Its kind says that it holds still pictures (AVIF, HEIC).
    pub(crate) is_still: bool,
}

/// A table of contents is searched so far for the sign of encryption, which stands near its start.
const SEARCHED_BYTES: u64 = 1 << 20;

/// Looks at the outside of a file. One in a format that tells no length has nothing to say.
pub(crate) fn outside_of(path: &Path) -> io::Result<Outside> {
    let mut file = fs::File::open(path)?;
    let length = file.metadata()?.len();
    look(&mut file, length)
}

fn look(file: &mut (impl Read + Seek), length: u64) -> io::Result<Outside> {
    let mut head = [0; 16];
    let have = read_at(file, 0, &mut head)?;
    let head = &head[..have];
    match head {
        [b'R', b'I', b'F', b'F', size @ ..] if size.len() >= 4 => {
            let announced = u64::from(u32::from_le_bytes([size[0], size[1], size[2], size[3]]));
            // 0 is what a recorder leaves that never came back to fill it in.
            Ok(Outside {
                is_cut_short: announced > 0 && announced + 8 > length,
                tells_duration: true,
                mp4: None,
            })
        }
        [0x1a, 0x45, 0xdf, 0xa3, ..] => {
            let is_cut_short = matroska_is_cut_short(file, length)?;
            Ok(Outside { is_cut_short, tells_duration: true, mp4: None })
        }
        [_, _, _, _, name @ ..] if name.len() >= 4 && is_first_box(&name[..4]) => {
            boxes(file, length)
        }
        _ => Ok(Outside::default()),
    }
}

fn is_first_box(name: &[u8]) -> bool {
    [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"]
        .iter()
        .any(|known| name == *known)
}

/// Walks the outer boxes of an MP4 file (ISO/IEC 14496-12, 4.2).
fn boxes(file: &mut (impl Read + Seek), length: u64) -> io::Result<Outside> {
    let mut mp4 = Mp4::default();
    // Fragments that their writer finished end with a table of themselves (8.8.9). It tells that they
    // are all there; the length that stands before them may count from before the first one.
    let mut tells_duration = true;
    let mut at = 0;
    for _ in 0..MAX_BOXES {
        let mut head = [0; 16];
        let have = read_at(file, at, &mut head)?;
        if have < 8 {
            break;
        }
        let size = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
            0 => length.saturating_sub(at), // to the end of the file, wherever that is
            1 if have == 16 => u64::from_be_bytes([
                head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
            ]),
            size => u64::from(size),
        };
        let Some(next) = at.checked_add(size).filter(|_| size >= 8) else { break };
        let is_whole = next <= length;
        match &head[4..8] {
            b"ftyp" => {
                mp4.is_still = [b"avif", b"heic", b"heix", b"mif1"]
                    .contains(&&[head[8], head[9], head[10], head[11]]);
            }
            b"moov" => {
                mp4.has_table_of_contents = is_whole;
                mp4.is_encrypted = names_encryption(file, at, size.min(SEARCHED_BYTES))?;
            }
            b"mdat" => mp4.has_content = true,
            b"mfra" => tells_duration = !is_whole,
            _ => {}
        }
        if !is_whole {
            return Ok(Outside { is_cut_short: true, tells_duration: true, mp4: Some(mp4) });
        }
        at = next;
    }
    Ok(Outside { is_cut_short: false, tells_duration, mp4: Some(mp4) })
}

/// Whether a table of contents describes encrypted video (ISO/IEC 14496-12, 8.12: `encv`).
fn names_encryption(file: &mut (impl Read + Seek), at: u64, size: u64) -> io::Result<bool> {
    let mut table = vec![0; size as usize];
    let have = read_at(file, at, &mut table)?;
    Ok(table[..have].windows(4).any(|name| name == b"encv"))
}

/// Whether the segment of a Matroska file (RFC 9559, 4.2) ends beyond the file.
fn matroska_is_cut_short(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let mut head = [0; 64];
    let have = read_at(file, 0, &mut head)?;
    let Some((header_size, header_bytes)) = head.get(4..have).and_then(ebml_size) else {
        return Ok(false);
    };
    let segment = 4 + header_bytes as u64 + header_size.unwrap_or(0);
    let mut head = [0; 16];
    let have = read_at(file, segment, &mut head)?;
    if have < 5 || head[..4] != [0x18, 0x53, 0x80, 0x67] {
        return Ok(false);
    }
    let Some((Some(size), size_bytes)) = ebml_size(&head[4..have]) else { return Ok(false) };
    Ok(segment.saturating_add(4 + size_bytes as u64).saturating_add(size) > length)
}

/// An EBML length (RFC 8794, 4), `None` for "unknown", and the bytes it takes.
fn ebml_size(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let count = bytes.first()?.leading_zeros() as usize + 1;
    let bytes = bytes.get(..count).filter(|_| count <= 8)?;
    let value = bytes.iter().fold(0, |value: u64, byte| value << 8 | u64::from(*byte));
    let mask = (1 << (7 * count)) - 1;
    let size = value & mask;
    Some(((size != mask).then_some(size), count))
}

fn read_at(file: &mut (impl Read + Seek), at: u64, into: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at))?;
    let mut have = 0;
    while have < into.len() {
        match file.read(&mut into[have..])? {
            0 => break,
            read => have += read,
        }
    }
    Ok(have)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn looked(bytes: &[u8]) -> Outside {
        look(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    fn mp4_box(name: [u8; 4], content: usize) -> Vec<u8> {
        let mut bytes = (8 + content as u32).to_be_bytes().to_vec();
        bytes.extend(name);
        bytes.resize(8 + content, 0);
        bytes
    }

    #[test]
    fn a_whole_mp4_is_whole_and_half_of_it_is_not() {
        let whole = [mp4_box(*b"ftyp", 8), mp4_box(*b"moov", 20), mp4_box(*b"mdat", 100)].concat();
        let expected = Mp4 { has_table_of_contents: true, has_content: true, ..Mp4::default() };
        assert_eq!(
            looked(&whole),
            Outside { is_cut_short: false, tells_duration: true, mp4: Some(expected) }
        );
        let finished = [whole.clone(), mp4_box(*b"mfra", 8)].concat();
        let expected_of_fragments = Outside { tells_duration: false, ..looked(&whole) };
        assert_eq!(looked(&finished), expected_of_fragments);
        assert!(looked(&whole[..80]).is_cut_short);
        assert_eq!(looked(&whole[..44]).mp4, Some(Mp4 { has_content: false, ..expected }));
        let unfinished = [mp4_box(*b"ftyp", 8), mp4_box(*b"mdat", 100)].concat();
        assert_eq!(looked(&unfinished).mp4, Some(Mp4 { has_table_of_contents: false, ..expected }));
    }

    #[test]
    fn still_pictures_and_encrypted_ones_are_told_apart() {
        let mut avif = mp4_box(*b"ftyp", 8);
        avif[8..12].copy_from_slice(b"avif");
        assert!(looked(&avif).mp4.unwrap().is_still);
        let mut moov = mp4_box(*b"moov", 20);
        moov[12..16].copy_from_slice(b"encv");
        let encrypted = [mp4_box(*b"ftyp", 8), moov].concat();
        assert!(looked(&encrypted).mp4.unwrap().is_encrypted);
    }

    #[test]
    fn a_matroska_segment_tells_its_length_or_that_it_has_none() {
        let mut file = vec![0x1a, 0x45, 0xdf, 0xa3, 0x80, 0x18, 0x53, 0x80, 0x67, 0x84, 1, 2, 3, 4];
        assert!(!looked(&file).is_cut_short);
        file.pop();
        assert!(looked(&file).is_cut_short);
        file[9] = 0xff;
        assert!(!looked(&file).is_cut_short, "a live recording tells no length");
    }

    #[test]
    fn an_avi_file_tells_its_length() {
        let mut file = b"RIFF\x08\0\0\0AVI LIST".to_vec();
        assert!(!looked(&file).is_cut_short);
        file[4] = 9;
        assert!(looked(&file).is_cut_short);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(
            head in prop_oneof![
                Just(b"\0\0\0\x18ftyp".to_vec()), Just(vec![0x1a, 0x45, 0xdf, 0xa3]),
                Just(b"RIFF".to_vec()), Just(vec![]),
            ],
            tail in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            looked(&[head, tail].concat());
        }
    }
}
