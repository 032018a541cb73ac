//! The directory of a zip archive whose entries are stored as they are, as `PyTorch` writes it.
//!
//! Only what a checkpoint needs: names and places. Written here because general readers refuse files
//! that `PyTorch` writes: its padding is a field too short for them when the name inside the archive
//! has exactly 21 characters.

use std::collections::BTreeMap;
use std::ops::Range;

/// Entries by name: where their bytes lie in the file.
pub(super) type Directory = BTreeMap<String, Range<usize>>;

const END: [u8; 4] = *b"PK\x05\x06";
const END_64: [u8; 4] = *b"PK\x06\x06";
const END_64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Reads the directory, or says what is wrong with the archive.
pub(super) fn directory(bytes: &[u8]) -> Result<Directory, String> {
    let (at, count) = end(bytes)?;
    let mut directory = Directory::new();
    let mut rest = bytes.get(at..).ok_or("its directory lies beyond its end")?;
    for _ in 0..count {
        let (name, range, length) = entry(bytes, rest)?;
        if directory.insert(name.clone(), range).is_some() {
            return Err(format!("`{name}` is in it twice"));
        }
        rest = &rest[length..];
    }
    Ok(directory)
}

/// Where the directory begins, and how many entries it has.
fn end(bytes: &[u8]) -> Result<(usize, usize), String> {
    // The record is 22 bytes and a comment of at most 65,535.
    let from = bytes.len().saturating_sub(22 + 0xffff);
    let tail = &bytes[from..];
    let found = tail.windows(4).rposition(|window| *window == END);
    let at = from + found.ok_or("the directory at its end is missing: the file is cut short")?;
    let (count, offset) = (u16_at(bytes, at + 10)?, u32_at(bytes, at + 16)?);
    if count != 0xffff && offset != 0xffff_ffff {
        return Ok((offset as usize, count as usize));
    }
    let locator = at.checked_sub(20).ok_or("its directory is damaged")?;
    expect(bytes, locator, END_64_LOCATOR)?;
    let record = to_usize(u64_at(bytes, locator + 8)?)?;
    expect(bytes, record, END_64)?;
    let at = |offset: usize| record.checked_add(offset).ok_or("its directory is damaged");
    Ok((to_usize(u64_at(bytes, at(48)?)?)?, to_usize(u64_at(bytes, at(32)?)?)?))
}

/// An entry's name, the place of its bytes, and the length of its record in the directory.
fn entry(bytes: &[u8], record: &[u8]) -> Result<(String, Range<usize>, usize), String> {
    expect(record, 0, ENTRY)?;
    let method = u16_at(record, 10)?;
    let (packed, size, offset) = (u32_at(record, 20)?, u32_at(record, 24)?, u32_at(record, 42)?);
    let [name_len, extra_len, comment_len] =
        [u16_at(record, 28)?, u16_at(record, 30)?, u16_at(record, 32)?].map(|len| len as usize);
    let length = 46 + name_len + extra_len + comment_len;
    if record.len() < length {
        return Err("its directory is cut short".into());
    }
    let name = String::from_utf8_lossy(&record[46..46 + name_len]).into_owned();
    if method != 0 {
        return Err(format!("`{name}` is compressed: PyTorch stores tensors as they are"));
    }
    let extra = &record[46 + name_len..46 + name_len + extra_len];
    let [size, _, offset] = wide([size, packed, offset], extra)?;
    // The local header repeats the name, and has padding of its own.
    expect(bytes, offset, LOCAL)?;
    let header = offset + 30;
    let local = u16_at(bytes, offset + 26)? as usize + u16_at(bytes, offset + 28)? as usize;
    let begin = header.checked_add(local).ok_or("its directory is damaged")?;
    let end = begin.checked_add(size).filter(|end| *end <= bytes.len());
    let end = end.ok_or_else(|| format!("`{name}` lies beyond its end: the file is cut short"))?;
    Ok((name, begin..end, length))
}

/// Size, packed size and offset; those that do not fit 32 bits stand in the extra field, in order.
fn wide(fields: [u32; 3], extra: &[u8]) -> Result<[usize; 3], String> {
    let mut values = fields.map(|field| field as usize);
    let mut rest = extra;
    while rest.len() >= 4 {
        let (id, len) = (u16_at(rest, 0)?, u16_at(rest, 2)? as usize);
        let Some(body) = rest.get(4..4 + len) else { break };
        if id == 1 {
            let wide = fields.iter().zip(&mut values).filter(|(field, _)| **field == u32::MAX);
            for (number, (_, value)) in wide.enumerate() {
                *value = to_usize(u64_at(body, 8 * number)?)?;
            }
        }
        rest = &rest[4 + len..];
    }
    Ok(values)
}

fn expect(bytes: &[u8], at: usize, magic: [u8; 4]) -> Result<(), String> {
    let found = bytes.get(at..).and_then(|rest| rest.get(..4));
    if found == Some(&magic[..]) { Ok(()) } else { Err("its directory is damaged".into()) }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], String> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk::<N>());
    found.copied().ok_or_else(|| "its directory is cut short".to_owned())
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, String> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, String> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, String> {
    number(bytes, at).map(u64::from_le_bytes)
}

fn to_usize(value: u64) -> Result<usize, String> {
    usize::try_from(value).map_err(|_| "its directory is damaged".to_owned())
}
