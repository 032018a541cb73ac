//! Reads what a pickle says, without doing what it says.
//!
//! A pickle is a program for a small machine that may name any function of Python and have it called.
//! This machine has no functions: a call stays a note of what was to be called, and only the notes
//! that `PyTorch` writes for tensors are understood afterwards. Objects are kept once and referred to by
//! number, and every object costs bytes of the file, so a small file cannot fill the memory.

use std::collections::{BTreeSet, HashMap};

/// The number of an object.
pub(super) type Id = usize;

/// An object as far as it is of interest.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Object {
    Int(i64),
    Text(String),
    Sequence(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// The name of something in Python, as `module name`.
    Global(String),
    /// A call that was not made.
    Call {
        callable: Id,
        args: Id,
    },
    /// Something kept outside the pickle.
    Persistent(Id),
    /// Anything else: none, booleans, floats, bytes, sets.
    Other,
}

/// All objects of a pickle.
#[derive(Debug, Default)]
pub(super) struct Objects {
    objects: Vec<Object>,
    /// Names of Python that the pickle mentions.
    pub(super) globals: BTreeSet<String>,
}

impl Objects {
    pub(super) fn get(&self, id: Id) -> &Object {
        self.objects.get(id).unwrap_or(&Object::Other)
    }

    fn add(&mut self, object: Object) -> Id {
        self.objects.push(object);
        self.objects.len() - 1
    }
}

enum Slot {
    Mark,
    Value(Id),
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Slot>,
    memo: HashMap<u32, Id>,
    objects: Objects,
}

/// Reads a pickle: all its objects, and which of them it stands for.
pub(super) fn read(bytes: &[u8]) -> Result<(Objects, Id), String> {
    let mut machine = Machine {
        rest: bytes,
        stack: Vec::new(),
        memo: HashMap::new(),
        objects: Objects::default(),
    };
    while machine.step()? {}
    let root = machine.pop()?;
    Ok((machine.objects, root))
}

impl<'a> Machine<'a> {
    /// One instruction; false after the last.
    fn step(&mut self) -> Result<bool, String> {
        let [code] = self.array()?;
        match code {
            b'.' => return Ok(false),
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),
            b'(' => self.stack.push(Slot::Mark),
            b'0' => drop(self.stack.pop()),
            b'1' | 0x90 => drop(self.pop_to_mark()?),
            b'2' => {
                let top = self.top()?;
                self.stack.push(Slot::Value(top));
            }
            _ => {
                let is_known = self.value(code)? || self.collection(code)? || self.object(code)?;
                if !is_known {
                    return Err(format!(
                        "it has an instruction {code:#04x} that PyTorch never writes"
                    ));
                }
            }
        }
        Ok(true)
    }

    /// An instruction that puts down a value by itself; false where it is none.
    fn value(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'N' | 0x88 | 0x89 | 0x8f => self.push(Object::Other),
            b'F' | b'S' => {
                self.line()?;
                self.push(Object::Other);
            }
            b'G' => {
                self.array::<8>()?;
                self.push(Object::Other);
            }
            b'I' | b'L' => {
                let line = self.line()?;
                let digits = line.trim_end_matches('L');
                self.push(digits.parse().map_or(Object::Other, Object::Int));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.push(Object::Int(value.into()));
            }
            b'K' => {
                let [value] = self.array()?;
                self.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.push(Object::Int(value.into()));
            }
            0x8a => {
                let [length] = self.array()?;
                self.long(length as usize)?;
            }
            0x8b => {
                let length = self.length_32()?;
                self.long(length)?;
            }
            b'V' => {
                let line = self.line()?;
                self.push(Object::Text(line));
            }
            b'X' | 0x8c | 0x8d => {
                let length = match code {
                    b'X' => self.length_32()?,
                    0x8c => self.length_8()?,
                    _ => self.length_64()?,
                };
                let text = String::from_utf8_lossy(self.take(length)?).into_owned();
                self.push(Object::Text(text));
            }
            b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => {
                let length = match code {
                    b'T' | b'B' => self.length_32()?,
                    b'U' | b'C' => self.length_8()?,
                    _ => self.length_64()?,
                };
                self.take(length)?;
                self.push(Object::Other);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An instruction that makes or fills a collection; false where it is none.
    fn collection(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b']' | b')' => self.push(Object::Sequence(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b'a' => {
                let value = self.pop()?;
                self.extend_sequence(&[value])?;
            }
            b'e' => {
                let values = self.pop_to_mark()?;
                self.extend_sequence(&values)?;
            }
            b't' | b'l' => {
                let values = self.pop_to_mark()?;
                self.push(Object::Sequence(values));
            }
            0x91 => {
                self.pop_to_mark()?;
                self.push(Object::Other);
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                values.reverse();
                self.push(Object::Sequence(values));
            }
            b'd' => {
                let values = self.pop_to_mark()?;
                self.push(Object::Dict(pairs(&values)));
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let values = self.pop_to_mark()?;
                self.extend_dict(&values)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An instruction about names, calls and objects known already; false where it is none.
    fn object(&mut self, code: u8) -> Result<bool, String> {
        match code {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id| match self.objects.get(id) {
                    Object::Text(text) => Ok(text.clone()),
                    _ => Err("a name in it is no text".to_owned()),
                };
                let (module, name) = (text(module)?, text(name)?);
                self.global(&module, &name);
            }
            b'R' | 0x81 => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.call(callable, args);
            }
            0x92 => {
                let _named = self.pop()?;
                let (args, callable) = (self.pop()?, self.pop()?);
                self.call(callable, args);
            }
            // The state of an object: a state_dict has its metadata there.
            b'b' => drop(self.pop()?),
            b'Q' => {
                let id = self.pop()?;
                self.push(Object::Persistent(id));
            }
            b'q' => {
                let [at] = self.array()?;
                self.keep(at.into())?;
            }
            b'r' => {
                let at = u32::from_le_bytes(self.array()?);
                self.keep(at)?;
            }
            b'p' => {
                let at = self.index()?;
                self.keep(at)?;
            }
            0x94 => {
                let at = self.memo.len() as u32;
                self.keep(at)?;
            }
            b'h' => {
                let [at] = self.array()?;
                self.recall(at.into())?;
            }
            b'j' => {
                let at = u32::from_le_bytes(self.array()?);
                self.recall(at)?;
            }
            b'g' => {
                let at = self.index()?;
                self.recall(at)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err("its list of tensors is cut short".into());
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.first_chunk().copied().ok_or_else(|| "its list of tensors is cut short".to_owned())
    }

    fn length_8(&mut self) -> Result<usize, String> {
        let [length] = self.array()?;
        Ok(length.into())
    }

    fn length_32(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length_64(&mut self) -> Result<usize, String> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| "its list of tensors is cut short".to_owned())
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or("its list of tensors is cut short")?;
        let line = self.take(end + 1)?;
        Ok(String::from_utf8_lossy(&line[..end]).trim_end_matches('\r').to_owned())
    }

    fn index(&mut self) -> Result<u32, String> {
        self.line()?.parse().map_err(|_| "it refers to no object".to_owned())
    }

    /// A little-endian integer of two's complement; one beyond 64 bits is of no interest.
    fn long(&mut self, length: usize) -> Result<(), String> {
        let bytes = self.take(length)?;
        let sign = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = if sign { [0xff; 8] } else { [0; 8] };
        let object = match wide.get_mut(..length) {
            Some(part) => {
                part.copy_from_slice(bytes);
                Object::Int(i64::from_le_bytes(wide))
            }
            None => Object::Other,
        };
        self.push(object);
        Ok(())
    }

    fn push(&mut self, object: Object) {
        let id = self.objects.add(object);
        self.stack.push(Slot::Value(id));
    }

    fn pop(&mut self) -> Result<Id, String> {
        match self.stack.pop() {
            Some(Slot::Value(id)) => Ok(id),
            _ => Err("it takes what it never put down".into()),
        }
    }

    fn top(&self) -> Result<Id, String> {
        match self.stack.last() {
            Some(Slot::Value(id)) => Ok(*id),
            _ => Err("it takes what it never put down".into()),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.stack.iter().rposition(|slot| matches!(slot, Slot::Mark));
        let mark = mark.ok_or("it takes what it never put down")?;
        let values = self.stack.drain(mark..).filter_map(|slot| match slot {
            Slot::Value(id) => Some(id),
            Slot::Mark => None,
        });
        Ok(values.collect())
    }

    fn extend_sequence(&mut self, values: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        if let Some(Object::Sequence(held)) = self.objects.objects.get_mut(top) {
            held.extend_from_slice(values);
        }
        Ok(())
    }

    fn extend_dict(&mut self, values: &[Id]) -> Result<(), String> {
        let top = self.top()?;
        if let Some(Object::Dict(held)) = self.objects.objects.get_mut(top) {
            held.extend(pairs(values));
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) {
        let name = format!("{module} {name}");
        self.objects.globals.insert(name.clone());
        self.push(Object::Global(name));
    }

    /// Notes a call. An ordered dictionary is a dictionary.
    fn call(&mut self, callable: Id, args: Id) {
        let object = match self.objects.get(callable) {
            Object::Global(name)
                if name == "collections OrderedDict" || name == "collections defaultdict" =>
            {
                Object::Dict(Vec::new())
            }
            _ => Object::Call { callable, args },
        };
        self.push(object);
    }

    fn keep(&mut self, at: u32) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn recall(&mut self, at: u32) -> Result<(), String> {
        let id = self.memo.get(&at).copied();
        self.stack.push(Slot::Value(id.ok_or("it refers to no object")?));
        Ok(())
    }
}

fn pairs(values: &[Id]) -> Vec<(Id, Id)> {
    values.as_chunks::<2>().0.iter().map(|[key, value]| (*key, *value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_noted_and_never_made() {
        // What pickle.dumps makes of an object whose __reduce__ is os.system("touch /tmp/x").
        let program =
            b"\x80\x02cposix\nsystem\nq\x00X\x0c\x00\x00\x00touch /tmp/xq\x01\x85q\x02Rq\x03.";
        let (objects, root) = read(program).unwrap();
        assert!(matches!(objects.get(root), Object::Call { .. }));
        assert_eq!(objects.globals, BTreeSet::from(["posix system".to_owned()]));
    }

    #[test]
    fn a_dictionary_that_holds_itself_and_numbers_of_all_sizes_are_read() {
        let (objects, root) = read(b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.").unwrap();
        let Object::Dict(entries) = objects.get(root) else { panic!("no dict") };
        assert_eq!(entries[0].1, root);
        for (program, value) in [
            (&b"K\x07."[..], 7),
            (b"M\x00\x01.", 256),
            (b"J\xff\xff\xff\xff.", -1),
            (b"\x8a\x02\xff\x7f.", 32767),
            (b"\x8a\x01\xff.", -1),
            (b"\x8a\x00.", 0),
            (b"I42\n.", 42),
        ] {
            let (objects, root) = read(program).unwrap();
            assert_eq!(objects.get(root), &Object::Int(value), "{program:?}");
        }
    }

    #[test]
    fn what_is_no_pickle_or_cut_short_is_refused_wherever_it_ends() {
        let program = b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00aK\x01s}b.";
        read(program).unwrap();
        for end in 0..program.len() {
            read(&program[..end]).unwrap_err();
        }
        for wrong in [&b"hello"[..], b"R.", b"h\x09.", b"(.", b"s.", b"\x86."] {
            read(wrong).unwrap_err();
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            drop(read(&bytes));
        }
    }
}
