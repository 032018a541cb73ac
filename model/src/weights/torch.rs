//! A checkpoint that `torch.save` wrote: a zip archive with a pickle and one entry for each storage.

use std::collections::BTreeMap;
use std::ops::Range;

use super::pickle::{self, Id, Object, Objects};
use super::zip::{Directory, directory};
use super::{Format, Listing, Stored};

/// Lists the tensors of the archive `bytes`.
pub(super) fn list(bytes: &[u8]) -> Result<Listing, String> {
    let entries = directory(bytes)?;
    let pickle = entries.iter().find(|(name, _)| name.ends_with("/data.pkl"));
    let (name, range) = pickle.ok_or("there is no `data.pkl` in it: PyTorch did not write it")?;
    let folder = name.trim_end_matches("data.pkl");
    if let Some(order) = entries.get(&format!("{folder}byteorder"))
        && bytes.get(order.clone()) != Some(b"little")
    {
        return Err("its numbers are big-endian".into());
    }
    let (objects, root) = pickle::read(&bytes[range.clone()])?;
    let archive = Archive { objects, entries: &entries, folder };
    archive.list(root)
}

struct Archive<'a> {
    objects: Objects,
    entries: &'a Directory,
    folder: &'a str,
}

impl Archive<'_> {
    fn list(&self, root: Id) -> Result<Listing, String> {
        let entries = self.dict(root).ok_or("it holds no dictionary of tensors")?;
        let mut beside = Vec::new();
        let wrapped = entries.iter().find(|(key, _)| self.text(*key) == Some("state_dict"));
        let (format, entries) = match wrapped {
            Some((_, inner)) => {
                let names = entries.iter().filter_map(|(key, _)| self.text(*key));
                beside.extend(names.filter(|name| *name != "state_dict").map(str::to_owned));
                let inner = self.dict(*inner).ok_or("its `state_dict` is no dictionary")?;
                (Format::TorchTraining, inner)
            }
            None => (Format::Torch, entries),
        };
        let mut tensors = BTreeMap::new();
        for (key, value) in entries {
            let Some(name) = self.text(*key) else {
                beside.push("an entry without a name".into());
                continue;
            };
            match self.tensor(*value).map_err(|why| format!("tensor `{name}`: {why}"))? {
                Some(tensor) => drop(tensors.insert(name.to_owned(), tensor)),
                None => beside.push(name.to_owned()),
            }
        }
        let harmless = |name: &&String| {
            ["torch ", "torch._utils ", "collections "].iter().any(|from| name.starts_with(from))
        };
        let named = self.objects.globals.iter().filter(|name| !harmless(name));
        let named = named.map(|name| name.replace(' ', ".")).collect();
        Ok(Listing { format, tensors, beside, named })
    }

    fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.objects.get(id) {
            Object::Dict(entries) => Some(entries),
            _ => None,
        }
    }

    fn text(&self, id: Id) -> Option<&str> {
        match self.objects.get(id) {
            Object::Text(text) => Some(text),
            _ => None,
        }
    }

    fn sequence(&self, id: Id) -> &[Id] {
        match self.objects.get(id) {
            Object::Sequence(values) => values,
            _ => &[],
        }
    }

    fn whole(&self, id: Id) -> Option<usize> {
        match self.objects.get(id) {
            Object::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    fn is_global(&self, id: Id, wanted: &str) -> bool {
        matches!(self.objects.get(id), Object::Global(name) if name == wanted)
    }

    /// The tensor that a noted call would build; none where it is something else.
    fn tensor(&self, id: Id) -> Result<Option<Stored>, String> {
        let Object::Call { callable, args } = self.objects.get(id) else { return Ok(None) };
        let args = self.sequence(*args);
        if self.is_global(*callable, "torch._utils _rebuild_parameter") {
            return match args.first() {
                // A parameter of a parameter would be an endless loop.
                Some(inner) if *inner < id => self.tensor(*inner),
                _ => Ok(None),
            };
        }
        if !self.is_global(*callable, "torch._utils _rebuild_tensor_v2") {
            return Ok(None);
        }
        let [storage, offset, shape, strides, ..] = *args else {
            return Err("is not written as PyTorch writes tensors".into());
        };
        let sizes = |id| self.sequence(id).iter().map(|id| self.whole(*id)).collect();
        let (offset, shape, strides): (_, Option<Vec<usize>>, Option<Vec<usize>>) =
            (self.whole(offset), sizes(shape), sizes(strides));
        let (Some(offset), Some(shape), Some(strides)) = (offset, shape, strides) else {
            return Err("has a shape that is no shape".into());
        };
        if !is_row_major(&shape, &strides) {
            return Err("is stored transposed: save it with `.contiguous()`".into());
        }
        let (dtype, bytes) = self.storage(storage)?;
        let range = within(&bytes, dtype, offset, &shape)
            .ok_or("lies beyond its storage: the file is damaged")?;
        Ok(Some(Stored { dtype: dtype.to_owned(), shape, range }))
    }

    /// The type of a storage's elements, and its bytes in the file.
    fn storage(&self, id: Id) -> Result<(&str, Range<usize>), String> {
        let Object::Persistent(told) = self.objects.get(id) else {
            return Err("has no storage".into());
        };
        let [_, kind, key, ..] = *self.sequence(*told) else {
            return Err("has no storage".into());
        };
        let Object::Global(kind) = self.objects.get(kind) else {
            return Err("has a storage of no type".into());
        };
        let kind = kind.strip_prefix("torch ").unwrap_or(kind);
        let dtype = match kind {
            "FloatStorage" => "F32",
            "HalfStorage" => "F16",
            "BFloat16Storage" => "BF16",
            "LongStorage" => "I64",
            other => other,
        };
        let key = self.text(key).ok_or("has a storage without a name")?;
        let name = format!("{}data/{key}", self.folder);
        let range =
            self.entries.get(&name).ok_or_else(|| format!("its data `{name}` is missing"))?;
        Ok((dtype, range.clone()))
    }
}

/// Bytes of one element; those of a type that is not understood do not matter.
fn width(dtype: &str) -> usize {
    match dtype {
        "F32" => 4,
        "F16" | "BF16" => 2,
        "I64" => 8,
        _ => 1,
    }
}

fn within(
    storage: &Range<usize>,
    dtype: &str,
    offset: usize,
    shape: &[usize],
) -> Option<Range<usize>> {
    let elements = shape.iter().try_fold(1usize, |all, side| all.checked_mul(*side))?;
    let begin = storage.start.checked_add(offset.checked_mul(width(dtype))?)?;
    let end = begin.checked_add(elements.checked_mul(width(dtype))?)?;
    (end <= storage.end).then_some(begin..end)
}

/// Whether a tensor's elements lie one after the other; the stride of a side of one is never used.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1usize;
    shape.len() == strides.len()
        && shape.iter().zip(strides).rev().all(|(side, stride)| {
            let fits = *side <= 1 || *stride == expected;
            expected = expected.saturating_mul(*side);
            fits
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_elements_one_after_the_other_are_row_major() {
        assert!(
            is_row_major(&[2, 3], &[3, 1]) && is_row_major(&[], &[]) && is_row_major(&[5], &[1])
        );
        assert!(is_row_major(&[1, 3], &[77, 1]) && is_row_major(&[2, 1, 3], &[3, 9, 1]));
        assert!(!is_row_major(&[2, 3], &[1, 2]) && !is_row_major(&[2], &[0]));
    }

    #[test]
    fn a_tensor_beyond_its_storage_is_refused() {
        assert_eq!(within(&(100..124), "F32", 2, &[2, 2]), Some(108..124));
        assert_eq!(within(&(100..124), "F32", 3, &[2, 2]), None);
        assert_eq!(within(&(0..8), "F32", 0, &[usize::MAX, 2]), None);
        assert_eq!(within(&(0..8), "F32", usize::MAX, &[1]), None);
    }
}
